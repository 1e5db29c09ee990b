//! Generates the table of entry points from the CUDA driver API table.

fn main() -> std::io::Result<()> {
    let out = std::path::PathBuf::from(std::env::var_os("OUT_DIR").unwrap_or_default());
    std::fs::write(out.join("driver_api.rs"), vgpu_codegen::soft::write(&vgpu_codegen::Table::load()))
}
