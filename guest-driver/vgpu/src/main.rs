//! `vgpu`: the virtual GPU's command line tool.

mod local;
mod locate;
mod run;
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
}

fn main() -> ExitCode {
    let outcome = match Cli::parse().command {
        Command::Run(args) => run::run(&args),
    };
    outcome.unwrap_or_else(|error| {
        eprintln!("vgpu: {error:#}");
        ExitCode::FAILURE
    })
}
