//! Generates opcodes, command structs and the `DriverApi` from the API table.

fn main() -> std::io::Result<()> {
    let out = std::path::PathBuf::from(std::env::var_os("OUT_DIR").unwrap_or_default());
    std::fs::write(out.join("api.rs"), vgpu_codegen::protocol::write(&vgpu_codegen::Table::load()))
}
