//! Atomic read-modify-write operations.

use super::super::code::{Op, Slot, LANES};
use super::super::cx::{Cx, Flow};
use super::super::isa::Handler;
use super::super::math::round::{Format, BF16, F16};
use super::super::math::{flush, min_max};
use super::super::space::Space;
use super::lane::{map, Int};
use super::memory::addresses;
use crate::ir::{AtomOp, AtomType, FloatType, IntType, Rounding};
use crate::memory::AccessError;
use std::marker::PhantomData;
use std::sync::atomic::Ordering::{Relaxed, SeqCst};

/// New value from the old one and the operands `b` and `c`, all as bits.
type Apply = fn(old: u64, b: u64, c: u64) -> u64;

/// An atomic operation. `wide_*`: the address base or the values are 64-bit registers.
#[derive(Clone, Copy)]
pub(in crate::engine) struct AtomicSpec {
    pub(in crate::engine) apply: Apply,
    /// 2, 4 or 8.
    pub(in crate::engine) bytes: u32,
    pub(in crate::engine) wide_base: bool,
    pub(in crate::engine) offset: u64,
    /// Whether `dst` gets the old value.
    pub(in crate::engine) returns: bool,
}

/// The operation on values of a type; `None` if PTX has no such combination.
pub(in crate::engine) fn apply(op: AtomOp, ty: AtomType) -> Option<(Apply, u32)> {
    let bytes = match ty {
        AtomType::Int(ty) => ty.bits() / 8,
        AtomType::Float { ty, .. } => ty.bits() / 8,
        AtomType::B128 => return None,
    };
    let function = match ty {
        AtomType::Int(IntType::U16 | IntType::S16) => int::<u16>(op),
        AtomType::Int(IntType::U32) => int::<u32>(op),
        AtomType::Int(IntType::S32) => int::<i32>(op),
        AtomType::Int(IntType::U64) => int::<u64>(op),
        AtomType::Int(IntType::S64) => int::<i64>(op),
        AtomType::Float { ty, ftz } => float(op, ty, ftz),
        _ => None,
    };
    function.map(|f| (f, bytes))
}

fn int<T: Int>(op: AtomOp) -> Option<Apply> {
    Some(match op {
        AtomOp::Add => |old, b, _| T::from_bits(old).add(T::from_bits(b)).to_bits(),
        AtomOp::Min => |old, b, _| T::from_bits(old).min(T::from_bits(b)).to_bits(),
        AtomOp::Max => |old, b, _| T::from_bits(old).max(T::from_bits(b)).to_bits(),
        AtomOp::And => |old, b, _| old & b,
        AtomOp::Or => |old, b, _| old | b,
        AtomOp::Xor => |old, b, _| old ^ b,
        AtomOp::Inc => |old, b, _| if old >= b { 0 } else { old + 1 },
        AtomOp::Dec => |old, b, _| if old == 0 || old > b { b } else { old - 1 },
        AtomOp::Exch => |_, b, _| b,
        AtomOp::Cas => |old, b, c| if old == b { c } else { old },
    })
}

fn float(op: AtomOp, ty: FloatType, ftz: bool) -> Option<Apply> {
    Some(match (op, ty, ftz) {
        (AtomOp::Add, FloatType::F32, false) => |old, b, _| single(old, b, |x, y| x + y),
        (AtomOp::Add, FloatType::F32, true) => |old, b, _| single(old, b, |x, y| flush(flush(x) + flush(y))),
        (AtomOp::Add, FloatType::F64, _) => |old, b, _| (f64::from_bits(old) + f64::from_bits(b)).to_bits(),
        (AtomOp::Add, FloatType::F16, _) => |old, b, _| half(F16, old, b, |x, y| x + y),
        (AtomOp::Add, FloatType::F16x2, _) => |old, b, _| pair(F16, old, b, |x, y| x + y),
        (AtomOp::Add, FloatType::BF16, _) => |old, b, _| half(BF16, old, b, |x, y| x + y),
        (AtomOp::Add, FloatType::BF16x2, _) => |old, b, _| pair(BF16, old, b, |x, y| x + y),
        (AtomOp::Min, FloatType::F16x2, _) => |old, b, _| pair(F16, old, b, |x, y| min_max(x, y, false, false)),
        (AtomOp::Max, FloatType::F16x2, _) => |old, b, _| pair(F16, old, b, |x, y| min_max(x, y, true, false)),
        (AtomOp::Min, FloatType::BF16x2, _) => |old, b, _| pair(BF16, old, b, |x, y| min_max(x, y, false, false)),
        (AtomOp::Max, FloatType::BF16x2, _) => |old, b, _| pair(BF16, old, b, |x, y| min_max(x, y, true, false)),
        (AtomOp::Exch, _, _) => |_, b, _| b,
        _ => return None,
    })
}

fn single(old: u64, b: u64, f: fn(f32, f32) -> f32) -> u64 {
    u64::from(f(f32::from_bits(old as u32), f32::from_bits(b as u32)).to_bits())
}

fn half(format: Format, old: u64, b: u64, f: fn(f64, f64) -> f64) -> u64 {
    let widen = |bits: u64| format.widen(bits as u32 & 0xffff);
    u64::from(format.round(f(widen(old), widen(b)), Rounding::Rn))
}

fn pair(format: Format, old: u64, b: u64, f: fn(f64, f64) -> f64) -> u64 {
    half(format, old >> 16, b >> 16, f) << 16 | half(format, old, b, f)
}

/// Memory with atomic operations.
pub(in crate::engine) trait AtomicBank {
    /// Applies an operation and gives the old value.
    fn update(
        cx: &mut Cx<'_>,
        lane: usize,
        address: u64,
        spec: &AtomicSpec,
        b: u64,
        c: u64,
    ) -> Result<u64, AccessError>;
}

/// Global memory.
pub(in crate::engine) struct GlobalAtomics;
/// Shared memory.
pub(in crate::engine) struct SharedAtomics;
/// Generic addresses.
pub(in crate::engine) struct GenericAtomics;

impl AtomicBank for GlobalAtomics {
    #[inline(always)]
    fn update(cx: &mut Cx<'_>, _: usize, address: u64, spec: &AtomicSpec, b: u64, c: u64) -> Result<u64, AccessError> {
        macro_rules! update {
            ($cell:expr, $ty:ty) => {{
                let cell = $cell?;
                let mut old = cell.load(Relaxed);
                loop {
                    let new = (spec.apply)(u64::from(old), b, c) as $ty;
                    match cell.compare_exchange_weak(old, new, SeqCst, SeqCst) {
                        Ok(_) => break Ok(u64::from(old)),
                        Err(seen) => old = seen,
                    }
                }
            }};
        }
        match spec.bytes {
            2 => update!(cx.memory.atomic_u16(address), u16),
            4 => update!(cx.memory.atomic_u32(address), u32),
            _ => update!(cx.memory.atomic_u64(address), u64),
        }
    }
}

/// Read-modify-write of memory that no other host thread touches now.
macro_rules! update_alone {
    ($memory:expr, $address:expr, $spec:expr, $b:expr, $c:expr) => {{
        macro_rules! update {
            ($ty:ty) => {{
                let old: $ty = $memory.load($address)?;
                $memory.store($address, ($spec.apply)(u64::from(old), $b, $c) as $ty)?;
                Ok(u64::from(old))
            }};
        }
        match $spec.bytes {
            2 => update!(u16),
            4 => update!(u32),
            _ => update!(u64),
        }
    }};
}

impl AtomicBank for SharedAtomics {
    #[inline(always)]
    fn update(cx: &mut Cx<'_>, _: usize, address: u64, spec: &AtomicSpec, b: u64, c: u64) -> Result<u64, AccessError> {
        update_alone!(cx.shared, address, spec, b, c)
    }
}

impl AtomicBank for GenericAtomics {
    #[inline(always)]
    fn update(
        cx: &mut Cx<'_>,
        lane: usize,
        address: u64,
        spec: &AtomicSpec,
        b: u64,
        c: u64,
    ) -> Result<u64, AccessError> {
        if Space::Shared.contains(address) {
            SharedAtomics::update(cx, lane, Space::Shared.specific(address), spec, b, c)
        } else if Space::Local.contains(address) {
            let mut memory = cx.local.lane(lane);
            update_alone!(memory, Space::Local.specific(address), spec, b, c)
        } else {
            GlobalAtomics::update(cx, lane, address, spec, b, c)
        }
    }
}

/// Atomic operation `imm` of [`super::super::code::Code::atomics`] at address `a` with operands
/// `b` and `c`.
pub(in crate::engine) struct Atomic<B>(PhantomData<B>);
impl<B: AtomicBank> Handler for Atomic<B> {
    #[inline(always)]
    fn run(cx: &mut Cx<'_>, op: &Op) -> Flow {
        let spec = cx.code.atomics[op.imm as usize];
        let addresses = addresses(cx, op.a, spec.wide_base, spec.offset);
        let wide = spec.bytes == 8;
        let value = |cx: &Cx<'_>, slot: Slot| match spec.bytes {
            8 => cx.read64(slot),
            4 => map(cx.read32(slot), u64::from),
            _ => map(cx.read32(slot), |v| u64::from(v as u16)),
        };
        let (b, c) = (value(cx, op.b), value(cx, op.c));
        let mut old = [0; LANES];
        for lane in cx.lanes() {
            match B::update(cx, lane, addresses[lane], &spec, b[lane], c[lane]) {
                Ok(value) => old[lane] = value,
                Err(error) => return cx.fail_access(lane, error, "atomic"),
            }
        }
        cx.control.spin();
        if spec.returns && wide {
            cx.write64(op.dst, old);
        } else if spec.returns {
            cx.write32(op.dst, map(old, |v| v as u32));
        }
        Flow::Next
    }
}
