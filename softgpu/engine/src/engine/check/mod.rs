//! Launches that are checked: accesses outside of allocations, reads of shared memory that nobody has written,
//! and races in shared memory.
//!
//! Code of a checked launch has an operation of its own before each access ([`super::ops::check`]), so that code
//! of others has nothing of it.

mod clocks;
mod report;
mod shadow;

pub(super) use clocks::Place;
pub(super) use shadow::Shadow;

use super::cx::Cx;
use super::ops::special::thread_index;
use super::DeviceHeap;
use crate::ir::Space;
use crate::memory::{Pinned, Range, GRANULE};
use shadow::{Access, Problem};
use std::sync::{Mutex, PoisonError};

/// Different findings kept of a launch.
const MOST_FINDINGS: usize = 100;
/// What is farther away from an allocation has nothing to do with it, bytes.
const FAR: u64 = 1 << 20;

/// The memory that a launch may access, as of its call: allocations, variables of modules, registered memory.
#[derive(Clone, Debug, Default)]
pub struct Extents {
    /// By address.
    ranges: Vec<Range>,
}

impl FromIterator<Range> for Extents {
    fn from_iter<I: IntoIterator<Item = Range>>(ranges: I) -> Extents {
        let mut ranges: Vec<Range> = ranges.into_iter().collect();
        ranges.sort_unstable_by_key(|range| range.base);
        Extents { ranges }
    }
}

impl Extents {
    /// The last range that begins at an address or before it, and the one after that.
    fn around(&self, address: u64) -> (Option<Range>, Option<Range>) {
        let next = self.ranges.partition_point(|range| range.base <= address);
        (next.checked_sub(1).map(|last| self.ranges[last]), self.ranges.get(next).copied())
    }
}

/// What kind of access an operation is about to make.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Load,
    Store,
    Atomic,
}

/// An access to be checked.
#[derive(Clone, Copy, Debug)]
pub(super) struct AccessSpec {
    pub(super) space: Space,
    pub(super) kind: Kind,
    pub(super) bytes: u32,
    /// What the address has to be a multiple of.
    pub(super) align: u32,
    /// Atomic, volatile, or ordered in another way.
    pub(super) strong: bool,
    /// The base is a 64-bit register.
    pub(super) wide_base: bool,
}

impl AccessSpec {
    fn reads(&self) -> bool {
        self.kind != Kind::Store
    }

    fn writes(&self) -> bool {
        self.kind != Kind::Load
    }

    fn name(&self) -> &'static str {
        match self.kind {
            Kind::Load => "load",
            Kind::Store => "store",
            Kind::Atomic => "atomic operation",
        }
    }
}

/// What a launch has done that it should not have, though it may go on.
struct Finding {
    problem: Problem,
    spec: AccessSpec,
    op: u32,
    address: u64,
    block: [u32; 3],
    thread: [u32; 3],
    /// The other thread of a race.
    other: [u32; 3],
    /// How often.
    count: u64,
}

/// The checks of one launch.
pub(super) struct Checker<'a> {
    extents: &'a Extents,
    /// Variables of the kernel's own module.
    variables: Vec<Range>,
    findings: Mutex<Vec<Finding>>,
}

impl<'a> Checker<'a> {
    pub(super) fn new(extents: &'a Extents, variables: Vec<Range>) -> Checker<'a> {
        Checker { extents, variables, findings: Mutex::default() }
    }

    /// Says what is wrong with an access to global memory that the device's memory would let pass.
    pub(super) fn outside(
        &self,
        (address, bytes): (u64, u64),
        spec: &AccessSpec,
        memory: &Pinned<'_>,
        heap: &DeviceHeap,
    ) -> Option<String> {
        let inside = |range: &Range| {
            let offset = address.wrapping_sub(range.base);
            offset < range.size && bytes <= range.size - offset
        };
        let (before, after) = self.extents.around(address);
        if before.as_ref().is_some_and(inside) || self.variables.iter().any(inside) || memory.is_mapped(address) {
            return None;
        }
        let own = heap.piece(address);
        if own.is_some_and(|piece| piece.as_ref().is_some_and(inside)) {
            return None;
        }
        let what = format!("{} of {bytes} bytes", spec.name());
        if own.is_some() {
            return Some(format!("{what}, outside of what the kernel's `malloc` gave or after its `free`"));
        }
        let describe = |range: Range| {
            let (Range { base, size }, end) = (range, range.base + range.size);
            match address.checked_sub(end) {
                _ if range.base > address => format!("{} bytes before the {size} at {base:#x}", base - address),
                Some(past) => format!("{past} bytes past the end of the {size} at {base:#x}"),
                None => format!("across the end of the {size} bytes at {base:#x}"),
            }
        };
        let distance = |range: &Range| match range.base > address {
            true => range.base - address,
            false => address.saturating_sub(range.base + range.size),
        };
        let nearest = before.into_iter().chain(after).filter(|range| distance(range) < FAR).min_by_key(distance);
        let live = if memory.check(address, 1).is_ok() && before.is_none_or(|range| distance(&range) >= GRANULE) {
            ", in memory that has been freed"
        } else {
            ""
        };
        let nearest = nearest.map_or_else(String::new, |range| format!("; {}", describe(range)));
        Some(format!("{what} outside of all allocations{live}{nearest}"))
    }

    fn add(&self, finding: Finding) {
        let mut findings = self.findings.lock().unwrap_or_else(PoisonError::into_inner);
        let same = |f: &Finding| {
            f.op == finding.op && std::mem::discriminant(&f.problem) == std::mem::discriminant(&finding.problem)
        };
        match findings.iter().position(same) {
            Some(known) => findings[known].count += 1,
            None if findings.len() < MOST_FINDINGS => findings.push(finding),
            None => {}
        }
    }
}

/// Notes an access to shared memory by a lane of the running warp.
pub(super) fn shared_access(cx: &mut Cx<'_>, spec: &AccessSpec, lane: usize, address: u64, value: Option<u64>) {
    let (Some(shadow), Some(checker)) = (cx.shared.shadow.as_mut(), &cx.env.check) else { return };
    let (op, thread) = (cx.control.pc - 1, (cx.warp * 32 + lane as u32) as u16);
    let (reads, writes, strong) = (spec.reads(), spec.writes(), spec.strong);
    let access = Access { address, bytes: spec.bytes, thread, op, reads, writes, strong, value };
    let Some(problem) = shadow.access(access) else { return };
    let place = |thread: u16| thread_index(cx.env.block, u32::from(thread) / 32, u32::from(thread) % 32);
    let other = match problem {
        Problem::Race { thread, .. } => place(thread),
        Problem::Uninitialised => [0; 3],
    };
    checker.add(Finding { problem, spec: *spec, op, address, block: cx.block, thread: place(thread), other, count: 1 });
}

/// Lets a lane take along what others have left at the word that it accesses atomically, and leave what it knows.
pub(super) fn meet_at_word(cx: &mut Cx<'_>, spec: &AccessSpec, lane: usize, address: u64) {
    let warp = cx.warp;
    let Some(shadow) = cx.shared.shadow.as_mut() else { return };
    if spec.reads() {
        shadow.take(warp, 1 << lane, Place::word(address));
    }
    if spec.writes() {
        shadow.leave(warp, 1 << lane, Place::word(address));
    }
}
