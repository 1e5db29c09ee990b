//! `vgpu`: the virtual GPU's command line tool.

mod bench;
mod doctor;
mod ffi;
mod local;
mod locate;
mod ptxas;
mod run;
mod smi;
mod sys;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// Tools for the virtual GPU.
#[derive(Debug, Parser)]
#[command(version)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run a CUDA program on this machine's own backend, without a VM.
    Run(run::Args),
    /// Show the GPU and the processes that use it.
    Smi(smi::Args),
    /// Check everything that CUDA programs need, and say what mends it.
    Doctor(doctor::Args),
    /// Measure what remoting costs, beside the same calls on the software GPU itself.
    Bench(bench::Args),
    /// Take the place of CUDA's assembler, for programs that make kernels themselves.
    Ptxas(ptxas::Args),
}

fn main() -> ExitCode {
    let mut arguments: Vec<_> = std::env::args_os().collect();
    if arguments.first().is_some_and(|program| ptxas::is_name(program)) {
        arguments.insert(1, ptxas::NAME.into());
    }
    let outcome = match Cli::parse_from(arguments).command {
        Command::Run(args) => run::run(&args),
        Command::Smi(args) => smi::run(&args),
        Command::Doctor(args) => doctor::run(&args),
        Command::Bench(args) => bench::run(&args),
        Command::Ptxas(args) => ptxas::run(&args),
    };
    outcome.unwrap_or_else(|error| {
        eprintln!("vgpu: {error:#}");
        ExitCode::FAILURE
    })
}
