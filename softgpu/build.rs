//! Generates the table of entry points, and those shared with the guest, from the CUDA driver API table.

fn main() -> std::io::Result<()> {
    let out = std::path::PathBuf::from(std::env::var_os("OUT_DIR").unwrap_or_default());
    let table = vgpu_codegen::Table::load();
    std::fs::write(out.join("driver_api.rs"), vgpu_codegen::soft::write(&table))?;
    std::fs::write(out.join("shared.rs"), vgpu_codegen::soft::shared(&table))
}
