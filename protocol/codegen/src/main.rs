//! Prints the support matrix (`docs/driver-api.md`) to standard output.

fn main() {
    print!("{}", vgpu_codegen::matrix::write(&vgpu_codegen::Table::load()));
}
