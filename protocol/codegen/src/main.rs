//! Prints what documentation and tests take from the API table: `matrix` (`docs/driver-api.md`),
//! `summary` (the table in the README) or `refused` (the symbols that refuse, for a test program).

fn main() -> std::process::ExitCode {
    let table = vgpu_codegen::Table::load();
    match std::env::args().nth(1).as_deref() {
        Some("matrix") => print!("{}", vgpu_codegen::matrix::write(&table)),
        Some("summary") => print!("{}", vgpu_codegen::matrix::summary(&table)),
        Some("refused") => print!("{}", vgpu_codegen::matrix::refused(&table)),
        _ => {
            eprintln!("usage: vgpu-codegen matrix|summary|refused");
            return std::process::ExitCode::from(2);
        }
    }
    std::process::ExitCode::SUCCESS
}
