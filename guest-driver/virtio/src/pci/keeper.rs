//! A second process that stops the device when the first one is killed.
//!
//! The device writes into memory that the broker has set aside for it. Were the broker killed, the
//! kernel would give that memory to others while the device goes on. The keeper shares the broker's
//! descriptors, so the memory stays until it has stopped the device and ends as well.

use std::io;
use std::os::fd::OwnedFd;

use rustix::event::{eventfd, poll, EventfdFlags, PollFd, PollFlags};
use rustix::process::{getpid, pidfd_open, PidfdFlags};

use super::sysfs::Function;
use crate::sys;

/// The keeper, as seen from the process that it watches. Unless it is dismissed before, it stops the
/// device when that process ends, however it does.
#[derive(Debug)]
pub struct Keeper {
    dismissed: &'static OwnedFd,
}

impl Keeper {
    /// Starts the keeper of `function`. The calling process must have one thread.
    pub fn start(function: &Function) -> io::Result<Keeper> {
        // Both processes have one table of descriptors: what either closes, the other has lost.
        let dismissed = leak(eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?);
        let broker = leak(pidfd_open(getpid(), PidfdFlags::empty())?);
        sys::fork_with_descriptors(|| watch(function, broker, dismissed))?;
        Ok(Keeper { dismissed })
    }

    /// The device has been stopped: there is nothing left to do.
    pub fn dismiss(self) {
        let _ = rustix::io::write(self.dismissed, &1u64.to_ne_bytes());
    }
}

fn leak(fd: OwnedFd) -> &'static OwnedFd {
    Box::leak(Box::new(fd))
}

fn watch(function: &Function, broker: &OwnedFd, dismissed: &OwnedFd) {
    let _ = rustix::thread::set_name(c"vgpud-keeper");
    while let Err(rustix::io::Errno::INTR) = poll(&mut [PollFd::new(broker, PollFlags::IN)], None) {}
    if rustix::io::read(dismissed, &mut [0; 8]).is_ok() {
        return;
    }
    match function.stop() {
        Ok(()) => log::warn!("vgpud ended without stopping the device: its keeper has stopped the device"),
        Err(error) => log::error!("vgpud ended and the device goes on: {error}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pci::sysfs::tests::tree;

    /// What the command register of the function holds.
    fn command(function: &Function) -> u16 {
        u16::from_le_bytes(std::fs::read(function.file("config")).unwrap()[4..6].try_into().unwrap())
    }

    /// Starts a keeper in a process that ends at once, and waits for the keeper's end.
    fn keep(function: &Function, dismiss: bool) {
        let (end, kept) = rustix::pipe::pipe().unwrap();
        crate::sys::fork_for_test(|| {
            let keeper = Keeper::start(function).unwrap();
            if dismiss {
                keeper.dismiss();
            }
        });
        drop(kept);
        // Nobody has the other end any more.
        assert_eq!(rustix::io::read(&end, &mut [0; 1]).unwrap(), 0);
    }

    #[test]
    fn the_device_is_stopped_when_its_process_ends_without_a_word() {
        let (root, _) = tree();
        let function = Function::find_all(root.path()).unwrap().remove(0);
        let taken = function.take().unwrap();
        function.enable().unwrap();
        let running = command(&function);
        keep(&function, true);
        assert_eq!(command(&function), running);
        keep(&function, false);
        assert_eq!(command(&function), running & !4, "bus mastering is off");
        taken.restore();
    }
}
