//! Waiting for and writing values in memory, in stream order.

use std::sync::atomic::{fence, Ordering};
use std::time::{Duration, Instant};

use vgpu_engine::memory::AccessError;
use vgpu_protocol::cuda::{BadMemOp, CUresult, CUstreamBatchMemOpParams, MemOp};

use super::{Context, Result, Target};

/// How long a wait looks without a pause.
const SPIN: Duration = Duration::from_micros(50);
/// Between two looks after that.
const PAUSE: Duration = Duration::from_micros(100);

impl Target {
    /// Queues operations, to be done one after the other.
    pub(in crate::driver) fn mem_ops(&self, operations: Vec<MemOp>) -> Result {
        self.check_mem_ops(&operations)?;
        self.submit(move |context| operations.iter().try_for_each(|operation| execute(context, operation)))
    }

    /// Whether there is memory where operations want it.
    pub(super) fn check_mem_ops(&self, operations: &[MemOp]) -> Result {
        operations.iter().try_for_each(|operation| match *operation {
            MemOp::Wait { wide, address, .. } | MemOp::Write { wide, address, .. } => {
                self.check(address, if wide { 8 } else { 4 })
            }
            MemOp::Barrier => Ok(()),
        })
    }
}

/// Operations as they were given, if they can be done.
pub(in crate::driver) fn parse(operations: &[CUstreamBatchMemOpParams]) -> Result<Vec<MemOp>> {
    let parsed = operations.iter().map(|operation| {
        operation.parse().map_err(|bad| match bad {
            BadMemOp::Invalid => CUresult::INVALID_VALUE,
            BadMemOp::Unsupported => CUresult::NOT_SUPPORTED,
        })
    });
    parsed.collect()
}

/// Does one.
pub(super) fn execute(context: &Context, operation: &MemOp) -> Result {
    let outcome = match *operation {
        MemOp::Wait { wide, address, value, condition } => {
            let start = Instant::now();
            loop {
                match read(context, wide, address) {
                    Ok(memory) if condition.holds(wide, memory, value) => break Ok(()),
                    Ok(_) if context.cancel.load(Ordering::Acquire) => break Ok(()),
                    Ok(_) if start.elapsed() < SPIN => std::hint::spin_loop(),
                    Ok(_) => std::thread::sleep(PAUSE),
                    Err(error) => break Err(error),
                }
            }
        }
        MemOp::Write { wide, address, value } => write(context, wide, address, value),
        MemOp::Barrier => {
            fence(Ordering::SeqCst);
            Ok(())
        }
    };
    outcome.map_err(|_| CUresult::ILLEGAL_ADDRESS)
}

fn read(context: &Context, wide: bool, address: u64) -> std::result::Result<u64, AccessError> {
    let memory = context.device.memory.pin();
    match wide {
        true => memory.atomic_u64(address).map(|word| word.load(Ordering::SeqCst)),
        false => memory.atomic_u32(address).map(|word| word.load(Ordering::SeqCst).into()),
    }
}

fn write(context: &Context, wide: bool, address: u64, value: u64) -> std::result::Result<(), AccessError> {
    let memory = context.device.memory.pin();
    match wide {
        true => memory.atomic_u64(address).map(|word| word.store(value, Ordering::SeqCst)),
        false => memory.atomic_u32(address).map(|word| word.store(value as u32, Ordering::SeqCst)),
    }
}
