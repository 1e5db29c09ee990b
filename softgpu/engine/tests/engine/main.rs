//! Kernels executed by the tier-0 engine, given as PTX.

mod device;
mod execution;
mod floats;
mod forms;
mod hostile;
mod integers;
mod programs;
mod textures;
