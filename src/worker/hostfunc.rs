//! Host functions: the stream waits while a guest thread runs the client's function.

use std::collections::{HashSet, VecDeque};
use std::sync::{Condvar, Mutex};

use vgpu_protocol::cuda::CUresult;

use super::session::lock;

#[derive(Debug, Default)]
struct State {
    /// Ids to be run, in stream order, and what each is told about its stream.
    due: VecDeque<(u64, CUresult)>,
    /// Ids that the client is running.
    running: HashSet<u64>,
}

/// Ids of host functions on their way to the client and back.
#[derive(Debug, Default)]
pub struct HostFunctions {
    state: Mutex<State>,
    changed: Condvar,
}

impl HostFunctions {
    /// Called by the driver's thread: has the client run `id` and waits until it has.
    pub fn run(&self, id: u64, status: CUresult) {
        let mut state = lock(&self.state);
        state.due.push_back((id, status));
        state.running.insert(id);
        self.changed.notify_all();
        while state.running.contains(&id) {
            state = self.changed.wait(state).unwrap_or_else(|poison| poison.into_inner());
        }
    }

    /// Called for the client: the next function to run. Waits for one.
    pub fn next(&self) -> (u64, CUresult) {
        let mut state = lock(&self.state);
        loop {
            if let Some(next) = state.due.pop_front() {
                return next;
            }
            state = self.changed.wait(state).unwrap_or_else(|poison| poison.into_inner());
        }
    }

    /// The client has run `id`.
    pub fn done(&self, id: u64) {
        lock(&self.state).running.remove(&id);
        self.changed.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;

    #[test]
    fn test_the_stream_waits_until_the_client_has_run_the_function() {
        let functions = Arc::new(HostFunctions::default());
        let driver = std::thread::spawn({
            let functions = functions.clone();
            move || functions.run(7, CUresult::SUCCESS)
        });
        assert_eq!(functions.next(), (7, CUresult::SUCCESS));
        functions.done(99);
        assert!(!driver.is_finished());
        functions.done(7);
        driver.join().unwrap();
    }
}
