//! Kernels executed by the tier-0 engine, given as PTX.

use vgpu_engine::engine::Engine;

mod check;
mod device;
mod execution;
mod floats;
mod forms;
mod hostile;
mod integers;
mod programs;
mod textures;
mod tiers;

/// The engine under test.
fn engine(threads: usize) -> Engine {
    Engine::new(threads)
}
