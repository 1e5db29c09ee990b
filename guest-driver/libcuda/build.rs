//! Generates the exported functions from the API table, and names the library as clients look for it.

fn main() -> std::io::Result<()> {
    // The library stays in a process that has closed it: its threads and handlers point into it.
    println!("cargo:rustc-cdylib-link-arg=-Wl,-soname,libcuda.so.1,-z,nodelete");
    let out = std::path::PathBuf::from(std::env::var_os("OUT_DIR").unwrap_or_default());
    std::fs::write(out.join("exports.rs"), vgpu_codegen::guest::write(&vgpu_codegen::Table::load()))
}
