//! Child processes that do not outlive this one.

use std::os::unix::process::CommandExt;
use std::process::Command;

use rustix::process::Signal;

/// Has the kernel send `signal` to the child when the thread that starts it ends.
pub fn end_with_parent(command: &mut Command, signal: Signal) {
    let hook = move || Ok(rustix::process::set_parent_process_death_signal(Some(signal))?);
    // SAFETY: the hook makes one system call and allocates nothing, as it must between fork and exec.
    unsafe { command.pre_exec(hook) };
}
