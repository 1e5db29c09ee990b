//! Prints what documentation and tests take from the API table: `matrix` (`docs/driver-api.md`),
//! `summary` (the table in the README), `refused` and `signatures` (the symbols that refuse, and the others
//! with the kinds of their arguments, for test programs).

fn main() -> std::process::ExitCode {
    let table = vgpu_codegen::Table::load();
    match std::env::args().nth(1).as_deref() {
        Some("matrix") => print!("{}", vgpu_codegen::matrix::write(&table)),
        Some("summary") => print!("{}", vgpu_codegen::matrix::summary(&table)),
        Some("signatures") => print!("{}", vgpu_codegen::matrix::signatures(&table)),
        Some("refused") => print!("{}", vgpu_codegen::matrix::refused(&table)),
        _ => {
            eprintln!("usage: vgpu-codegen matrix|summary|refused|signatures");
            return std::process::ExitCode::from(2);
        }
    }
    std::process::ExitCode::SUCCESS
}
