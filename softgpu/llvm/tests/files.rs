//! The tests of PTX instructions as files, in machine code.

use std::path::Path;
use std::sync::Arc;
use vgpu_engine::engine::{Engine, Tier};
use vgpu_filetests::cases;
use vgpu_llvm::Llvm;

#[test]
fn instructions_do_what_the_files_say() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../filetests/cases");
    let engine = Engine::with_compiler(1, Some(Arc::new(Llvm)), Tier::Compiled);
    match cases::run_folder(&folder, &engine) {
        Ok(forms) => assert!(forms > 500, "{forms} forms"),
        Err(failures) => panic!("{} forms failed:\n{}", failures.len(), failures.join("\n")),
    }
}
