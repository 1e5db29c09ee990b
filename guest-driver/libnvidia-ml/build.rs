//! Generates the functions that only refuse, and names the library as clients look for it.

use std::fmt::Write;

fn main() -> std::io::Result<()> {
    println!("cargo:rustc-cdylib-link-arg=-Wl,-soname,libnvidia-ml.so.1");
    println!("cargo:rerun-if-changed=refused.txt");
    let mut code = String::new();
    for name in std::fs::read_to_string("refused.txt")?.lines().filter(|line| !line.starts_with('#')) {
        let _ = writeln!(code, "#[no_mangle]\npub extern \"C\" fn {name}() -> u32 {{ refuse() }}");
    }
    let out = std::path::PathBuf::from(std::env::var_os("OUT_DIR").unwrap_or_default());
    std::fs::write(out.join("refused.rs"), code)
}
