//! The guest's broker: the one process that touches the virtual GPU's device. It hands each CUDA
//! process a session queue and shared memory, and takes both back when the process ends.

#![forbid(unsafe_code)]

mod broker;
mod server;
mod session;
pub mod socket;

pub use broker::{Broker, Peer, Response};
pub use server::{Server, ServerError};
