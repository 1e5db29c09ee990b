//! Prints `docs/ptx-support.md`; with `--refused`, why each form that is refused is.

use vgpu_engine::engine::Engine;
use vgpu_filetests::support;

fn main() {
    let rows = support::rows(&Engine::new(1));
    if std::env::args().any(|argument| argument == "--refused") {
        for (form, why) in rows.iter().flat_map(|row| &row.refused) {
            println!("{form}\n    {}", why.replace('\n', " "));
        }
    } else {
        print!("{}", support::document(&rows));
    }
}
