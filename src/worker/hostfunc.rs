//! Host functions: the stream waits while a guest thread runs the client's function.

use std::sync::{Arc, Mutex};

use vgpu_protocol::cuda::CUresult;
use vgpu_protocol::session::{due_entry, DueFunction, DUE_FUNCTIONS, DUE_OFFSET, RUN_OFFSET};

use super::ring::Ring;
use super::session::lock;
use super::wait::until;

/// Hands functions to the client, in the order in which they become due.
pub struct HostFunctions {
    ring: Arc<Ring>,
    /// How many have become due.
    due: Mutex<u32>,
}

impl HostFunctions {
    /// Those of the session with this ring, of which none has become due.
    pub fn new(ring: Arc<Ring>) -> HostFunctions {
        HostFunctions { ring, due: Mutex::new(0) }
    }

    /// Called by the driver's thread: has the client run `id` and waits until it has. A client that
    /// never does keeps its own stream from going on.
    pub fn run(&self, id: u64, status: CUresult) {
        let number = self.hand_over(DueFunction { id, status: status.0, reserved: 0 });
        until(None, || self.has_run(number));
    }

    fn hand_over(&self, function: DueFunction) -> u32 {
        let mut due = lock(&self.due);
        let number = *due;
        until(None, || self.has_run(number.wrapping_sub(DUE_FUNCTIONS)));
        *due = number.wrapping_add(1);
        self.ring.write(due_entry(number), &function);
        self.ring.store(DUE_OFFSET, *due);
        self.ring.signal();
        number
    }

    /// Whether the client says that it has run the function with this number.
    fn has_run(&self, number: u32) -> bool {
        let run = self.ring.load(RUN_OFFSET);
        (run.wrapping_sub(number) as i32) > 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use vgpu_protocol::session::HOME_SIZE;
    use vm_memory::{Bytes, GuestAddress, GuestMemoryMmap, GuestRegionMmap};
    use zerocopy::FromBytes;

    const HOME: u64 = 0x20_0000;

    fn functions() -> (Arc<HostFunctions>, GuestMemoryMmap) {
        let region = Arc::new(GuestRegionMmap::from_range(GuestAddress(HOME), HOME_SIZE, None).unwrap());
        let memory = GuestMemoryMmap::from_arc_regions(vec![region.clone()]).unwrap();
        let ring = Arc::new(Ring::new(region).unwrap());
        (Arc::new(HostFunctions::new(ring)), memory)
    }

    fn at(offset: usize) -> GuestAddress {
        GuestAddress(HOME + offset as u64)
    }

    fn await_due(memory: &GuestMemoryMmap, count: u32) {
        while memory.read_obj::<u32>(at(DUE_OFFSET)).unwrap() != count {
            std::thread::yield_now();
        }
    }

    #[test]
    fn test_the_stream_waits_until_the_client_has_run_the_function() {
        let (functions, memory) = functions();
        let driver = std::thread::spawn(move || functions.run(7, CUresult::LAUNCH_FAILED));
        await_due(&memory, 1);
        let mut entry = [0; size_of::<DueFunction>()];
        memory.read_slice(&mut entry, at(due_entry(0))).unwrap();
        let due = DueFunction { id: 7, status: CUresult::LAUNCH_FAILED.0, reserved: 0 };
        assert_eq!(DueFunction::read_from_bytes(&entry).unwrap(), due);
        assert!(!driver.is_finished());
        memory.write_obj(1u32, at(RUN_OFFSET)).unwrap();
        driver.join().unwrap();
    }

    #[test]
    fn test_more_streams_wait_than_the_ring_has_entries() {
        let (functions, memory) = functions();
        let threads = DUE_FUNCTIONS + 8;
        let drivers: Vec<_> = (0..threads)
            .map(|id| {
                let functions = functions.clone();
                std::thread::spawn(move || functions.run(id.into(), CUresult::SUCCESS))
            })
            .collect();
        await_due(&memory, DUE_FUNCTIONS);
        let mut seen = std::collections::HashSet::new();
        for run in 0..threads {
            while memory.read_obj::<u32>(at(DUE_OFFSET)).unwrap() == run {
                std::thread::yield_now();
            }
            seen.insert(memory.read_obj::<u64>(at(due_entry(run))).unwrap());
            memory.write_obj(run + 1, at(RUN_OFFSET)).unwrap();
        }
        drivers.into_iter().for_each(|driver| driver.join().unwrap());
        assert_eq!(seen.len(), threads as usize);
    }
}
