//! The tests of the interpreter, in machine code.

use std::sync::Arc;
use vgpu_engine::engine::{Engine, Tier};
use vgpu_llvm::Llvm;

mod approximations;
#[path = "../../../engine/tests/engine/device.rs"]
mod device;
#[path = "../../../engine/tests/engine/execution.rs"]
mod execution;
#[path = "../../../engine/tests/engine/floats.rs"]
mod floats;
#[path = "../../../engine/tests/engine/forms.rs"]
mod forms;
mod generated;
#[path = "../../../engine/tests/engine/hostile.rs"]
mod hostile;
#[path = "../../../engine/tests/engine/integers.rs"]
mod integers;
mod lanes;
#[path = "../../../engine/tests/engine/programs.rs"]
mod programs;
mod reduced;
#[path = "../../../engine/tests/engine/textures.rs"]
mod textures;

/// The engine under test: it compiles what can be compiled, before the first launch.
fn engine(threads: usize) -> Engine {
    let _ = env_logger::try_init();
    Engine::with_compiler(threads, Some(Arc::new(Llvm)), Tier::Compiled)
}
