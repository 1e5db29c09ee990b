//! Generates the exported functions from the API table, and names the library as programs look for it.

fn main() -> std::io::Result<()> {
    // The library stays in a process that has closed it: the engine's threads run in it.
    println!("cargo:rustc-cdylib-link-arg=-Wl,-soname,libcuda.so.1,-z,nodelete");
    // See `vgpu_llvm::exit`.
    println!("cargo:rustc-cdylib-link-arg=-Wl,--wrap=__cxa_atexit");
    let out = std::path::PathBuf::from(std::env::var_os("OUT_DIR").unwrap_or_default());
    std::fs::write(out.join("exports.rs"), vgpu_codegen::soft::library(&vgpu_codegen::Table::load()))
}
