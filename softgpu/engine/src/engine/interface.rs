//! What machine code of a kernel and the engine know of each other.

use std::ffi::c_void;

/// Machine code of a kernel.
///
/// # Safety
/// The function of [`Native::function`] may be called with frames as [`Frame`] describes them,
/// for as long as the value lives. It accesses nothing but what the frame refers to.
pub unsafe trait Native: Send + Sync {
    /// The code.
    fn function(&self) -> Run;
    /// What the engine has to know about it.
    fn interface(&self) -> &Interface;
}

/// What the engine has to know about machine code, which refers to most of it by number.
#[derive(Clone, Debug, Default)]
pub struct Interface {
    /// Where warps may begin. Entry 0 is the kernel's start.
    pub entries: Vec<Entry>,
    /// Where it may leave them to the interpreter.
    pub exits: Vec<Exit>,
    /// What it may have the interpreter do.
    pub steps: Vec<Step>,
    /// What it may have the engine look at.
    pub checks: Vec<Check>,
    /// What it accesses at once at each of the [`Frame::sites`].
    pub sites: Vec<Reach>,
    /// How many [`Frame::masks`] it uses, which is one for each block.
    pub masks: usize,
}

/// Runs the warps `first..end` of a frame, one after the other, from its entry `at` on; with `together`, and
/// if all of them come to the same barrier, from there on, and so forth. The result is one of [`status`].
pub type Run = unsafe extern "C" fn(*mut Frame) -> u32;

/// Bit of an entry: other lanes may wait, in [`Frame::masks`].
pub const FOREIGN: u32 = 1 << 31;

/// A place where machine code can take over a warp.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Micro-operation.
    pub pc: u32,
    /// Blocks at whose first operation other lanes may wait meanwhile.
    pub waiting: Vec<u32>,
    /// The barrier behind which it lies. There, and at the kernel's start, warps can go on without [`FOREIGN`].
    pub barrier: Option<u8>,
    /// Whether only warps can go on there none of whose lanes has ended.
    pub needs_all: bool,
    /// Registers that have a short form there.
    pub registers: Vec<Needed>,
}

/// A register that has a short form at an entry, and who needs it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Needed {
    pub register: Regular,
    /// Whether the lanes that go on do.
    pub running: bool,
    /// The blocks where lanes wait that do.
    pub waiting: Vec<u32>,
}

/// A register whose value follows from that of the first lane, or of the first of each half.
///
/// In its short form the values of those lanes are where they are in the long one, and the others
/// have any. Predicates have no other short form than the long one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Regular {
    /// First row, or predicate.
    pub place: u32,
    pub kind: RegisterKind,
    /// Whether each half of the warp has a value of its own.
    pub halves: bool,
    /// How much more a lane has than the first one, in its half or in the warp.
    pub steps: Steps,
}

/// How much each bit of a lane's number in a warp adds to a value; of its number in half a warp, the first four.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Steps(pub [i64; 5]);

impl Steps {
    /// Each lane has so much more than the one before it.
    pub fn line(stride: i64) -> Steps {
        Steps([0, 1, 2, 3, 4].map(|bit| stride.wrapping_shl(bit)))
    }

    /// How much more a lane has than the first one.
    pub fn at(self, lane: u32) -> i64 {
        let steps = (0..).zip(self.0).filter(|(bit, _)| lane >> bit & 1 != 0);
        steps.fold(0, |sum, (_, step)| sum.wrapping_add(step))
    }
}

/// How the lanes' values of a register lie.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RegisterKind {
    /// A bit for each.
    Pred,
    /// 32 bits, in a row.
    Word,
    /// 64 bits, in two rows.
    Long,
}

/// A place where machine code leaves a warp to the interpreter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Exit {
    /// Micro-operation where the running lanes are.
    pub pc: u32,
    /// Blocks where other lanes may wait, in [`Frame::masks`].
    pub waiting: Vec<u32>,
    /// Registers that are in their short form.
    pub regular: Vec<Regular>,
}

/// Micro-operations that the interpreter executes while machine code waits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Step {
    /// The first, and the one after the last.
    pub operations: (u32, u32),
    /// Operands that are in their short form.
    pub operands: Vec<Regular>,
    /// Results to be brought into their short form, in which the interpreter's results are.
    pub results: Vec<Regular>,
    /// What to look up before.
    pub lookup: Option<Lookup>,
}

/// A range of memory that is looked up for a site: that around the address of the first lane.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lookup {
    pub site: u32,
    /// Whether it is to be written.
    pub writes: bool,
    pub base: Base,
    pub offset: i64,
}

/// What an address begins with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Base {
    /// 32 bits, in the row given.
    Word(u32),
    /// 64 bits, in the row given and the next one.
    Long(u32),
    /// Whatever is in registers.
    Fixed(u64),
}

/// What has to hold for lanes to access memory without the interpreter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Check {
    pub bank: Bank,
    /// Whether they write.
    pub writes: bool,
    /// Bytes of each access, a multiple of which its address must be.
    pub bytes: u32,
    /// How much further on they access memory too.
    pub span: u64,
    /// Their addresses, as in [`Regular`].
    pub halves: bool,
    pub steps: Steps,
}

/// Memory that is accessed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bank {
    Shared,
    Local,
    /// Global: the range of this site, which is looked up if it is another one.
    Site(u32),
}

/// What machine code returns.
pub mod status {
    /// All warps have ended.
    pub const DONE: u32 = 0;
    /// All warps that have not ended are at the barrier of entry [`super::Frame::stop`].
    pub const BARRIER: u32 = 1;
    /// The interpreter has to go on with warp `current`, as exit [`super::Lanes::exit`] says.
    ///
    /// In this case and the next ones, warps before `current` have ended or are at the barrier of entry
    /// [`super::Frame::stop`], and those behind it have ended or are still at the entry [`super::Frame::at`].
    pub const INTERPRET: u32 = 2;
    /// As `INTERPRET`, because the time slice is used up.
    pub const YIELD: u32 = 3;
    /// What [`super::Frame::execute`] returned.
    pub const FAULT: u32 = 4;
    /// Warp `current` is at another barrier than those before it, that of entry [`super::Frame::parted`].
    pub const PARTED: u32 = 5;
}

/// The live range in which an instruction's last slow access lay.
#[derive(Clone, Copy, Debug, Default)]
#[repr(C)]
pub struct Site {
    /// First address, a multiple of [`Site::ALIGN`].
    pub first: u64,
    /// Bytes; 0 if no range is known.
    pub size: u64,
    /// At how many places in it, an element apart, what is accessed at once may begin.
    pub places: u64,
}

/// What is accessed at once, by all lanes.
#[derive(Clone, Copy, Debug, Default)]
pub struct Reach {
    /// From the first to the last byte.
    pub bytes: u64,
    /// Exponent of an element's size, of which the first address is a multiple.
    pub shift: u32,
}

impl Site {
    /// Alignment of the ranges, at least that of every access.
    pub const ALIGN: u64 = 32;

    /// A range, given by its first address and size, for what is accessed in it at once.
    pub(super) fn new((first, size): (u64, u64), reach: Reach) -> Site {
        let places = size.checked_sub(reach.bytes).map_or(0, |rest| (rest >> reach.shift) + 1);
        Site { first, size, places }
    }
}

/// What machine code sees of the launch and the block.
#[repr(C)]
pub struct Frame {
    /// The parameter block.
    pub params: *const u8,
    /// Shared memory of the block and its size in bytes.
    pub shared: *mut u8,
    pub shared_size: u64,
    /// One for each access that is checked against it.
    pub sites: *mut Site,
    /// Lanes that wait at each block, at an entry or an exit that permits it.
    pub masks: *mut u32,
    /// Executes a [`Step`] for some lanes. Gives 0, or what to return.
    pub execute: unsafe extern "C" fn(*mut Frame, *mut Lanes, step: u32, lanes: u32) -> u32,
    /// Says whether a [`Check`] holds for some lanes, given the addresses of the first lane of each half, or that of
    /// the first one of all, where one is enough.
    pub check: unsafe extern "C" fn(*mut Frame, *mut Lanes, check: u32, first: u64, second: u64, lanes: u32) -> u32,
    /// Looks up the live range around an address for a site; the last argument says whether it is to be written.
    pub locate: unsafe extern "C" fn(*mut Frame, site: u32, address: u64, write: u32),
    /// What is left of the time slice, and what must be left for warps to go on together behind a barrier.
    pub fuel: i64,
    pub reserve: i64,
    /// Warps to run, which lie in one array.
    pub first: *mut Lanes,
    pub end: *mut Lanes,
    /// The warp that runs.
    pub current: *mut Lanes,
    /// Whether warps go on together behind barriers.
    pub together: u32,
    /// The entry where all warps have been; that of the barrier where those are that have run since, or 0; that
    /// of the barrier where `current` is.
    pub at: u32,
    pub stop: u32,
    pub parted: u32,
    pub ntid: [u32; 3],
    pub nctaid: [u32; 3],
    pub ctaid: [u32; 3],
    pub warps: u32,
    pub dynamic_shared: u32,
    /// The engine's own.
    pub(super) host: *mut c_void,
}

/// What machine code sees of a warp.
#[repr(C)]
pub struct Lanes {
    /// Rows of 128 bytes, as the micro-operations use them.
    pub rows: *mut u8,
    pub preds: *mut u32,
    /// Local memory: so many bytes for each lane.
    pub local: *mut u8,
    pub local_size: u64,
    /// `threadIdx`: three rows.
    pub tid: *const [u32; 32],
    /// Index of the warp.
    pub warp: u32,
    /// Lanes that exist.
    pub existing: u32,
    /// Lanes that go on where machine code has stopped; none if the warp has ended.
    pub running: u32,
    /// Lanes that have ended or never existed.
    pub exited: u32,
    /// Where machine code has stopped: the number of an [`Exit`].
    pub exit: u32,
}
