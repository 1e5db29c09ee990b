//! No order of events loses a wake-up, a batch or a reply. A thread that nobody wakes is a deadlock to loom.

use std::time::Duration;

use loom::sync::{Arc, Mutex};
use loom::thread;
use vgpu_loom::device::Device;
use vgpu_loom::park::Park;
use vgpu_loom::stream::{Stream, Ticket};
use vgpu_loom::sys::Shared;
use vgpu_loom::{reply, ring};
use vgpu_protocol::cmd::CuMemFreeV2;

/// What the threads of a client share (`Session`).
struct Client {
    home: Shared,
    stream: Mutex<Stream>,
    park: Park,
    device: Device,
}

impl Client {
    fn new() -> Arc<Client> {
        let home = Shared::default();
        let stream = Mutex::new(Stream::new(&home, 0));
        Arc::new(Client { home, stream, park: Park::default(), device: Device::default() })
    }

    /// Sends a batch of one command. `Session::post` and `Session::begin`.
    fn submit(&self, lane: u32, waits: bool) -> Ticket {
        let mut stream = self.stream.lock().unwrap();
        stream.append(&self.home, lane, 0, &CuMemFreeV2 { dptr: 64 }).unwrap();
        let (ticket, kick) = stream.submit(&self.home, waits).unwrap();
        drop(stream);
        if kick {
            self.device.doorbell.set();
        }
        ticket
    }

    /// `Waiter::wait`, without time.
    fn wait(&self, mut done: impl FnMut() -> bool) {
        while !done() {
            let (ask, sleep) = (|| ring::arm(&self.home), || self.device.call.wait());
            if self.park.park(Duration::MAX, &mut done, ask, sleep) {
                return;
            }
        }
    }

    /// `Session::outcome`.
    fn outcome(&self, ticket: Ticket) {
        self.wait(|| reply::is_done(&self.home, ticket.slot));
        reply::read(&self.home, ticket.slot, ticket.sequence).unwrap();
        let mut stream = self.stream.lock().unwrap();
        stream.consume(ticket);
        stream.reap(&self.home).unwrap();
    }
}

/// Tries a model with that many switches between threads which did not have to be, or `LOOM_MAX_PREEMPTIONS`.
fn model(preemptions: usize, test: impl Fn() + Sync + Send + 'static) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = builder.preemption_bound.or(Some(preemptions));
    builder.check(test);
}

#[test]
fn test_a_call_is_answered_however_both_sides_fall_asleep() {
    model(2, || {
        let client = Client::new();
        let worker = client.clone();
        let worker = thread::spawn(move || worker.device.run(&worker.home, 2, |_| false, |_| ()));
        let posted = client.submit(1, false);
        let ticket = client.submit(1, true);
        client.outcome(ticket);
        assert!(client.stream.lock().unwrap().is_done(posted.sequence));
        worker.join().unwrap();
    });
}

#[test]
fn test_threads_that_wait_for_different_replies_are_all_woken() {
    model(1, || {
        let client = Client::new();
        let (worker, other) = (client.clone(), client.clone());
        let worker = thread::spawn(move || worker.device.run(&worker.home, 2, |_| false, |_| ()));
        let other = thread::spawn(move || {
            let ticket = other.submit(1, true);
            other.outcome(ticket);
        });
        let ticket = client.submit(2, true);
        client.outcome(ticket);
        other.join().unwrap();
        worker.join().unwrap();
    });
}

#[test]
fn test_a_lane_that_another_thread_finishes_is_answered() {
    model(1, || {
        let client = Client::new();
        let (worker, waiter) = (client.clone(), client.clone());
        let handed: Arc<Mutex<Option<_>>> = Arc::default();
        let (given, arrived) = (handed.clone(), Arc::new(vgpu_loom::sync::Signal::default()));
        let there = arrived.clone();
        let waiter = thread::spawn(move || {
            there.wait();
            let taken = given.lock().unwrap().take().unwrap();
            waiter.device.finish(taken);
        });
        let worker = thread::spawn(move || {
            worker.device.run(
                &worker.home,
                2,
                |sequence| sequence == 1,
                |taken| {
                    *handed.lock().unwrap() = Some(taken);
                    arrived.set();
                },
            )
        });
        let blocked = client.submit(1, true);
        let posted = client.submit(2, false);
        client.outcome(blocked);
        client.wait(|| {
            let mut stream = client.stream.lock().unwrap();
            stream.reap(&client.home).unwrap();
            stream.is_done(posted.sequence)
        });
        waiter.join().unwrap();
        worker.join().unwrap();
    });
}

#[test]
fn test_a_thread_is_woken_though_the_one_that_watches_waits_for_longer() {
    model(1, || {
        let client = Client::new();
        let (worker, first) = (client.clone(), client.clone());
        let worker = thread::spawn(move || worker.device.run(&worker.home, 2, |_| false, |_| ()));
        let ticket = client.submit(1, true);
        let first = thread::spawn(move || {
            first.outcome(ticket);
            first.submit(1, false);
        });
        // The second batch only comes when the first one's thread goes on.
        client.wait(|| {
            let mut stream = client.stream.lock().unwrap();
            stream.reap(&client.home).unwrap();
            stream.is_done(2)
        });
        first.join().unwrap();
        worker.join().unwrap();
    });
}
