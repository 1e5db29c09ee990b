//! Kernels executed by the tier-0 engine, given as PTX.

mod device;
mod forms;
mod integers;
mod programs;
