//! Prints what the documentation takes from the API table: `matrix` (`docs/driver-api.md`) or
//! `summary` (the table in the README).

fn main() -> std::process::ExitCode {
    let table = vgpu_codegen::Table::load();
    match std::env::args().nth(1).as_deref() {
        Some("matrix") => print!("{}", vgpu_codegen::matrix::write(&table)),
        Some("summary") => print!("{}", vgpu_codegen::matrix::summary(&table)),
        _ => {
            eprintln!("usage: vgpu-codegen matrix|summary");
            return std::process::ExitCode::from(2);
        }
    }
    std::process::ExitCode::SUCCESS
}
