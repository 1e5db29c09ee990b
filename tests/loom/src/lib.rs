//! A session's queue in the memory of loom, which runs a test in every order in which threads can meet and
//! with every value that a load may see.
//!
//! The client's side is the client's own code (`guest-driver/client/src`). The worker's side is what `worker/ring.rs`,
//! `worker/dispatcher.rs` and the crate virtio-queue do, told again in [`device`].

// Some commands compile the library as a test, too, in which the client's modules would have theirs.
#![cfg(not(test))]

pub mod device;
pub mod sync;
pub mod sys;

#[path = "../../../guest-driver/client/src/park.rs"]
pub mod park;
#[path = "../../../guest-driver/client/src/reply.rs"]
pub mod reply;
#[path = "../../../guest-driver/client/src/ring.rs"]
pub mod ring;
#[path = "../../../guest-driver/client/src/stream.rs"]
pub mod stream;
