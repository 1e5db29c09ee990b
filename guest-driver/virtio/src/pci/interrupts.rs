//! Interrupts of a device that `vfio-pci` or `uio_pci_generic` holds (the kernel's
//! Documentation/driver-api/uio-howto.rst).
//!
//! QEMU gives the device one interrupt for all queues, so each one has all sleeping clients look. `uio_pci_generic`
//! masks it when it comes; here it is acknowledged, told, and let through again. Those by `vfio-pci` are messages, of
//! which nothing stays behind.

use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::io::{self, Read};
use std::os::fd::OwnedFd;
use std::path::Path;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use rustix::event::{poll, EventfdFlags, PollFd, PollFlags};
use rustix::net::{AddressFamily, SendFlags, SocketFlags, SocketType};

use super::registers::Isr;
use super::sysfs::Function;

/// Who is to be woken, by queue.
#[derive(Default)]
struct Sleepers {
    /// Our ends of sockets: whatever a client does to its own, sending does not wait.
    completions: BTreeMap<u32, OwnedFd>,
    /// Whether an interrupt has ever come.
    heard: bool,
}

#[derive(Default)]
struct Shared {
    sleepers: Mutex<Sleepers>,
    first: Condvar,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Sleepers> {
        self.sleepers.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn wake_all(&self) {
        let mut sleepers = self.lock();
        for completion in sleepers.completions.values() {
            // What is unread wakes as well.
            let _ = rustix::net::send(completion, &[1], SendFlags::DONTWAIT | SendFlags::NOSIGNAL);
        }
        if !std::mem::replace(&mut sleepers.heard, true) {
            self.first.notify_all();
        }
    }
}

/// The thread that waits for interrupts. It ends when this is dropped.
pub struct Interrupts {
    shared: Arc<Shared>,
    end: OwnedFd,
    thread: Option<JoinHandle<()>>,
}

impl Interrupts {
    /// Waits for the interrupts of `function`, which `uio_pci_generic` holds; `dev` is where device files are.
    pub fn start(function: &Function, dev: &Path, isr: Isr) -> io::Result<Interrupts> {
        let uio = OpenOptions::new().read(true).write(true).open(dev.join(function.uio()?))?;
        let function = function.clone();
        Interrupts::serve_on::<4>(uio, move || function.unmask_interrupts(), move || isr.acknowledge())
    }

    /// Waits for the interrupts that an eventfd tells of.
    pub fn start_on(vector: OwnedFd) -> io::Result<Interrupts> {
        Interrupts::serve_on::<8>(File::from(vector), || Ok(()), || ())
    }

    /// Waits for the interrupts that a file tells of, with a count of that many bytes.
    fn serve_on<const SIZE: usize>(
        mut interrupts: File,
        unmask: impl Fn() -> io::Result<()> + Send + 'static,
        acknowledge: impl Fn() + Send + 'static,
    ) -> io::Result<Interrupts> {
        let end = rustix::event::eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?;
        let (shared, stop) = (Arc::<Shared>::default(), end.try_clone()?);
        let told = shared.clone();
        let thread = std::thread::Builder::new().name("interrupts".into()).spawn(move || {
            if let Err(error) = serve::<SIZE>(&mut interrupts, &stop, unmask, acknowledge, &told) {
                log::warn!("the device's interrupts come no more: {error}");
            }
        })?;
        Ok(Interrupts { shared, end, thread: Some(thread) })
    }

    /// Waits until an interrupt has come, at most `limit`; whether one has.
    pub fn wait_for_first(&self, limit: Duration) -> bool {
        let waited = self.shared.first.wait_timeout_while(self.shared.lock(), limit, |sleepers| !sleepers.heard);
        waited.unwrap_or_else(PoisonError::into_inner).0.heard
    }

    /// Gives a descriptor that becomes readable with each interrupt from now on, for a queue's client.
    pub fn add(&self, queue: u32) -> io::Result<OwnedFd> {
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let (ours, theirs) = rustix::net::socketpair(AddressFamily::UNIX, SocketType::STREAM, flags, None)?;
        self.shared.lock().completions.insert(queue, ours);
        Ok(theirs)
    }

    /// Nobody sleeps for a queue any more.
    pub fn remove(&self, queue: u32) {
        self.shared.lock().completions.remove(&queue);
    }
}

impl Drop for Interrupts {
    fn drop(&mut self) {
        let _ = rustix::io::write(&self.end, &1u64.to_ne_bytes());
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn serve<const SIZE: usize>(
    interrupts: &mut File,
    end: &OwnedFd,
    unmask: impl Fn() -> io::Result<()>,
    acknowledge: impl Fn(),
    shared: &Shared,
) -> io::Result<()> {
    loop {
        unmask()?;
        let mut fds = [PollFd::new(&*interrupts, PollFlags::IN), PollFd::new(end, PollFlags::IN)];
        match poll(&mut fds, None) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
        let [device, end] = fds.map(|fd| fd.revents());
        if !end.is_empty() {
            return Ok(());
        }
        if device.is_empty() {
            continue;
        }
        // How many there were; an error once the device is gone.
        interrupts.read_exact(&mut [0; SIZE])?;
        acknowledge();
        shared.wake_all();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;
    use std::os::unix::net::UnixStream;

    #[test]
    fn each_interrupt_wakes_all_sleepers_and_the_next_is_let_through() {
        let (mut device, uio) = UnixStream::pair().unwrap();
        let (unmasked, told) = std::sync::mpsc::channel();
        let unmask = move || unmasked.send(()).map_err(io::Error::other);
        let interrupts = Interrupts::serve_on::<4>(File::from(OwnedFd::from(uio)), unmask, || ()).unwrap();
        let mut sleepers = [1, 2].map(|queue| UnixStream::from(interrupts.add(queue).unwrap()));
        for sleeper in &sleepers {
            sleeper.set_nonblocking(false).unwrap();
        }
        assert!(!interrupts.wait_for_first(Duration::ZERO));
        for _ in 0..3 {
            told.recv().unwrap();
            device.write_all(&[1, 0, 0, 0]).unwrap();
            for sleeper in &mut sleepers {
                sleeper.read_exact(&mut [0]).unwrap();
            }
        }
        assert!(interrupts.wait_for_first(Duration::from_secs(10)));
        interrupts.remove(1);
        assert_eq!(sleepers[0].read(&mut [0]).unwrap(), 0, "the socket is closed");
        drop(interrupts);
    }

    #[test]
    fn a_client_that_reads_nothing_keeps_nobody_waiting() {
        let (mut device, uio) = UnixStream::pair().unwrap();
        let interrupts = Interrupts::serve_on::<4>(File::from(OwnedFd::from(uio)), || Ok(()), || ()).unwrap();
        let deaf = UnixStream::from(interrupts.add(1).unwrap());
        let mut other = UnixStream::from(interrupts.add(2).unwrap());
        // It may change the mode of its end only.
        deaf.set_nonblocking(false).unwrap();
        other.set_nonblocking(false).unwrap();
        for _ in 0..2000 {
            device.write_all(&[1, 0, 0, 0]).unwrap();
            other.read_exact(&mut [0]).unwrap();
        }
    }
}
