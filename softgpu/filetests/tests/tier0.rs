//! The interpreter on all files, and the documentation of what it executes.

use std::path::Path;
use vgpu_engine::engine::Engine;
use vgpu_filetests::{approximate, cases, support};

#[test]
fn instructions_do_what_the_files_say() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("cases");
    match cases::run_folder(&folder, &Engine::new(1)) {
        Ok(forms) => assert!(forms > 500, "{forms} forms"),
        Err(failures) => panic!("{} forms failed:\n{}", failures.len(), failures.join("\n")),
    }
}

#[test]
fn the_table_of_instructions_is_current() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/ptx-support.md");
    let written = std::fs::read_to_string(path).unwrap();
    let rows = support::rows(&Engine::new(1));
    assert!(written == support::document(&rows), "docs/ptx-support.md is old: run scripts/docs");
}

#[test]
fn approximate_functions_are_within_their_bounds() {
    match approximate::run(&Engine::new(1)) {
        Ok(results) => assert!(results > 1_000_000, "{results} results"),
        Err(failures) => panic!("{}", failures.join("\n")),
    }
}
