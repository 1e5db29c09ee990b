//! Exit codes.

use std::process::ExitCode;

/// Something failed while running.
pub const RUNTIME: u8 = 1;
/// There is no GPU (no driver library, or it finds no device).
pub const NO_GPU: u8 = 3;
/// The sandbox cannot be had.
pub const SANDBOX: u8 = 4;
/// A system call that the sandbox forbids was made (SIGSYS).
pub const SECCOMP: u8 = 148;
/// The VM's memory shrank under the backend (SIGBUS).
pub const SIGBUS: u8 = 149;

/// Says what went wrong on standard error; the process ends with `code`.
pub fn fail(code: u8, message: impl std::fmt::Display) -> ExitCode {
    eprintln!("vhost-user-vgpu: {message}");
    ExitCode::from(code)
}
