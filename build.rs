//! Generates the worker's dispatcher from the API table.

fn main() -> std::io::Result<()> {
    // See `vgpu_llvm::exit`.
    println!("cargo:rustc-link-arg-bins=-Wl,--wrap=__cxa_atexit");
    let out = std::path::PathBuf::from(std::env::var_os("OUT_DIR").unwrap_or_default());
    std::fs::write(out.join("dispatch.rs"), vgpu_codegen::worker::write(&vgpu_codegen::Table::load()))
}
