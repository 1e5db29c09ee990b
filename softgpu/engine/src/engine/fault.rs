//! Why a launch failed, and where.

use std::fmt;

/// The kinds of failure a kernel can have, in the terms of the CUDA driver API.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum FaultKind {
    /// An access outside of live allocations, windows, shared or local memory.
    IllegalAddress,
    /// An access whose address is not a multiple of its size.
    MisalignedAddress,
    /// A device-side `assert` was false.
    Assert,
    /// `trap` or another failure of the kernel itself.
    Trap,
    /// An instruction or operand combination that PTX does not define.
    IllegalInstruction,
    /// The kernel contains something this engine does not implement.
    Unsupported,
    /// The launch was stopped from outside through [`Launch::cancel`](super::Launch::cancel).
    Cancelled,
    /// A thread's call stack exceeded its limit.
    StackOverflow,
    /// An indirect call or branch to something that is not a function or label.
    InvalidPc,
    /// All threads of a block wait for something that can no longer happen.
    Deadlock,
    /// Grid, block, shared memory or parameters do not fit the kernel.
    InvalidLaunch,
    /// The host had no memory left for the launch.
    OutOfMemory,
}

impl FaultKind {
    /// The `CUresult` value CUDA reports for this kind of failure.
    pub fn cuda_error(self) -> u32 {
        match self {
            FaultKind::InvalidLaunch => 1,
            FaultKind::OutOfMemory => 2,
            FaultKind::IllegalAddress => 700,
            FaultKind::Cancelled | FaultKind::Deadlock => 702,
            FaultKind::Assert => 710,
            FaultKind::StackOverflow => 714,
            FaultKind::IllegalInstruction => 715,
            FaultKind::MisalignedAddress => 716,
            FaultKind::InvalidPc => 718,
            FaultKind::Trap => 719,
            FaultKind::Unsupported => 801,
        }
    }
}

/// The first failure of a launch; every block is stopped soon after it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// What failed.
    pub kind: FaultKind,
    /// Name of the kernel.
    pub kernel: String,
    /// `blockIdx` of the failing thread.
    pub block: [u32; 3],
    /// `threadIdx` of the failing thread.
    pub thread: [u32; 3],
    /// Line of the PTX source, 0 where unknown.
    pub line: u32,
    /// Address of the failing access, 0 where there is none.
    pub address: u64,
    /// More about it, for logs; may be empty.
    pub detail: String,
}

impl Fault {
    /// A failure of the launch as a whole.
    pub(super) fn of_launch(kind: FaultKind, kernel: &str, detail: String) -> Fault {
        Fault { kind, kernel: kernel.into(), block: [0; 3], thread: [0; 3], line: 0, address: 0, detail }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Fault { kernel, block: b, thread: t, .. } = self;
        write!(f, "{:?} in kernel `{kernel}`", self.kind)?;
        if self.line != 0 {
            write!(f, " at PTX line {}", self.line)?;
        }
        write!(f, ", block ({},{},{}), thread ({},{},{})", b[0], b[1], b[2], t[0], t[1], t[2])?;
        if self.address != 0 {
            write!(f, ", address {:#x}", self.address)?;
        }
        if !self.detail.is_empty() {
            write!(f, ": {}", self.detail)?;
        }
        Ok(())
    }
}

impl std::error::Error for Fault {}
