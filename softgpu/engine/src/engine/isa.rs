//! Compiling each operation for several instruction sets, and calling the one
//! that this CPU has.

use super::code::Op;
use super::cx::{Cx, Flow};
use std::sync::OnceLock;

/// The body of one micro-operation; inlined into a function per instruction set.
pub(super) trait Handler {
    fn run(cx: &mut Cx<'_>, op: &Op) -> Flow;
}

/// A micro-operation compiled for the running CPU; only [`select`] and [`plain`] make one.
#[derive(Clone, Copy)]
pub(super) struct Entry(unsafe fn(&mut Cx<'_>, &Op) -> Flow);

impl Entry {
    #[inline(always)]
    pub(super) fn call(self, cx: &mut Cx<'_>, op: &Op) -> Flow {
        // SAFETY: `select` and `plain` choose functions whose target features this CPU has.
        unsafe { (self.0)(cx, op) }
    }
}

#[derive(Clone, Copy)]
enum Isa {
    Baseline,
    #[cfg(target_arch = "x86_64")]
    Avx2,
    #[cfg(target_arch = "x86_64")]
    Avx512,
}

fn isa() -> Isa {
    static ISA: OnceLock<Isa> = OnceLock::new();
    *ISA.get_or_init(detect)
}

#[cfg(target_arch = "x86_64")]
fn detect() -> Isa {
    let avx2 = is_x86_feature_detected!("avx2")
        && is_x86_feature_detected!("fma")
        && is_x86_feature_detected!("bmi2")
        && is_x86_feature_detected!("lzcnt")
        && is_x86_feature_detected!("popcnt");
    let avx512 = avx2
        && is_x86_feature_detected!("avx512f")
        && is_x86_feature_detected!("avx512vl")
        && is_x86_feature_detected!("avx512bw")
        && is_x86_feature_detected!("avx512dq");
    match (avx512, avx2) {
        (true, _) => Isa::Avx512,
        (false, true) => Isa::Avx2,
        (false, false) => Isa::Baseline,
    }
}

#[cfg(not(target_arch = "x86_64"))]
fn detect() -> Isa {
    Isa::Baseline
}

/// The handler compiled for the best instruction set of this CPU.
pub(super) fn select<H: Handler>() -> Entry {
    match isa() {
        Isa::Baseline => Entry(baseline::<H>),
        #[cfg(target_arch = "x86_64")]
        Isa::Avx2 => Entry(avx2::<H>),
        #[cfg(target_arch = "x86_64")]
        Isa::Avx512 => Entry(avx512::<H>),
    }
}

/// The handler compiled once, for operations that vector instructions do not help.
pub(super) fn plain<H: Handler>() -> Entry {
    Entry(baseline::<H>)
}

fn baseline<H: Handler>(cx: &mut Cx<'_>, op: &Op) -> Flow {
    H::run(cx, op)
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,fma,bmi2,lzcnt,popcnt")]
fn avx2<H: Handler>(cx: &mut Cx<'_>, op: &Op) -> Flow {
    H::run(cx, op)
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f,avx512vl,avx512bw,avx512dq,avx2,fma,bmi2,lzcnt,popcnt")]
fn avx512<H: Handler>(cx: &mut Cx<'_>, op: &Op) -> Flow {
    H::run(cx, op)
}
