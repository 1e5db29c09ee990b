//! vhost-user backend that gives a QEMU guest a virtual PCI GPU for CUDA.

// What guests, clients and devices send must never end a process.
#![cfg_attr(
    not(test),
    deny(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::unreachable, clippy::indexing_slicing)
)]

mod args;
mod carrier;
mod channel;
mod exchange;
mod exit;
mod gpu;
mod logging;
mod monitor;
mod nvml;
mod quota;
mod rate;
mod sandbox;
mod supervisor;
mod sys;
mod worker;

use std::process::ExitCode;

use clap::Parser;
use vgpu_protocol::control::VIRTIO_ID;

use crate::args::{Cli, Internal};

fn main() -> ExitCode {
    let cli = Cli::parse();
    match &cli.internal {
        Some(Internal::Worker(args)) => return worker::run(args),
        Some(Internal::Probe(args)) => return worker::probe(args),
        Some(Internal::Check(args)) => return sandbox::check(args),
        Some(Internal::Monitor(args)) => return monitor::run(args),
        None => {}
    }
    if cli.serve.print_capabilities {
        println!("{{\n  \"type\": \"vgpu\",\n  \"virtio-id\": {VIRTIO_ID}\n}}");
        return ExitCode::SUCCESS;
    }
    let log = match logging::start_supervisor(cli.serve.executor.log_level) {
        Ok(log) => log,
        Err(error) => return exit::fail(exit::RUNTIME, format_args!("cannot start logging: {error}")),
    };
    sys::end_on_sigbus();
    sys::end_on_forbidden_call();
    sys::raise_descriptor_limit();
    supervisor::run(&cli.serve, log)
}
