//! Passes clients' doorbells on to the device, on a thread of its own: a request that the device takes
//! long to answer holds up no session.

use std::io;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::thread::JoinHandle;

use log::warn;
use rustix::event::epoll::{self, EventData, EventFlags};
use rustix::event::{eventfd, EventfdFlags};
use vgpu_virtio::Bell;

/// Stands for the end of the thread where a queue's number is expected.
const END: u64 = u64::MAX;

/// The thread. It ends when this is dropped.
pub struct Relay {
    epoll: Arc<OwnedFd>,
    end: OwnedFd,
    thread: Option<JoinHandle<()>>,
}

impl Relay {
    /// Passes doorbells on to `bell`.
    pub fn start(bell: Bell) -> io::Result<Relay> {
        let epoll = Arc::new(epoll::create(epoll::CreateFlags::CLOEXEC)?);
        let end = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?;
        epoll::add(&epoll, &end, EventData::new_u64(END), EventFlags::IN)?;
        let watched = epoll.clone();
        let thread = std::thread::Builder::new().name("doorbells".into()).spawn(move || run(&watched, &bell))?;
        Ok(Relay { epoll, end, thread: Some(thread) })
    }

    /// Watches the doorbell of a queue.
    pub fn watch(&self, queue: u32, doorbell: BorrowedFd<'_>) -> io::Result<()> {
        // Edge-triggered, and never read: every write is one event, and the client, who shares the
        // eventfd, cannot make a read wait.
        Ok(epoll::add(&self.epoll, doorbell, EventData::new_u64(queue.into()), EventFlags::IN | EventFlags::ET)?)
    }

    /// Watches it no more. The client may keep the eventfd open: closing ours would not end the watch.
    pub fn forget(&self, doorbell: BorrowedFd<'_>) {
        let _ = epoll::delete(&self.epoll, doorbell);
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        let _ = rustix::io::write(&self.end, &1u64.to_ne_bytes());
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn run(epoll: &OwnedFd, bell: &Bell) {
    let mut events = Vec::with_capacity(64);
    loop {
        events.clear();
        match epoll::wait(epoll, rustix::buffer::spare_capacity(&mut events), None) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(error) => return warn!("doorbells reach the device no more: {error}"),
        }
        for event in &events {
            match u32::try_from(event.data.u64()) {
                Ok(queue) => bell(queue),
                Err(_) => return,
            }
        }
    }
}
