//! Says what the GPUs are, in a process of its own.

use std::io::Write;
use std::process::ExitCode;

use zerocopy::IntoBytes;

use super::commands::describe;
use crate::args::Executor;
use crate::{exit, logging};

/// Writes each device's `DeviceInfo` to standard output.
pub fn probe(args: &Executor) -> ExitCode {
    logging::start_worker(args.log_level, None, args.log_memory);
    crate::sys::end_on_forbidden_call();
    let api = match super::start_confined(args) {
        Ok(api) => api,
        Err((code, message)) => return exit::fail(code, message),
    };
    let describe = |dev| describe(&api, args.gpu.is_cpu(), dev);
    let all = describe(0).and_then(|first| {
        (1..first.device_count).map(describe).try_fold(vec![first], |mut all, next| {
            all.push(next?);
            Ok(all)
        })
    });
    let devices = match all {
        Ok(devices) => devices,
        Err(error) => {
            let error = error.result();
            return exit::fail(exit::NO_GPU, format_args!("--gpu {}: cannot describe the GPU: {error}", args.gpu));
        }
    };
    match std::io::stdout().write_all(devices.as_bytes()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => exit::fail(exit::RUNTIME, format_args!("cannot report to the supervisor: {error}")),
    }
}
