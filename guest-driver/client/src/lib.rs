//! What a CUDA process in the guest needs to talk to its worker on the host: the session and its
//! home, the command stream, the shared memory at equal addresses, and the handles it mints.
//!
//! The crate has no C interface; `vgpu-libcuda` puts the driver API in front of it.

// What guests, clients and devices send must never end a process.
#![cfg_attr(
    not(test),
    deny(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::unreachable, clippy::indexing_slicing)
)]

pub mod arena;
pub mod broker;
mod fork;
pub mod handles;
pub mod lane;
pub mod location;
mod park;
mod reply;
mod ring;
mod session;
mod staging;
mod stream;
mod sync;
mod sys;
#[cfg(test)]
mod tests;
mod wait;

pub use broker::{Broker, OpenError};
pub use reply::Outcome;
pub use session::{DueFunctions, Pending, Session};
pub use staging::{Piece, PIECE_SIZE};
pub use sys::block_signals;
