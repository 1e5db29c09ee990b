//! The guest's broker: the one process that touches the virtual GPU's device. It hands each CUDA
//! process a session queue and shared memory, and takes both back when the process ends.

// What guests, clients and devices send must never end a process.
#![cfg_attr(
    not(test),
    deny(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::unreachable, clippy::indexing_slicing)
)]
#![forbid(unsafe_code)]

mod broker;
mod relay;
mod server;
mod session;
pub mod socket;

pub use broker::{Broker, Peer, Response};
pub use server::{Server, ServerError};
