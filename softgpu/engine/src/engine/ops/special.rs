//! Special registers.

use super::super::code::{Op, LANES};
use super::super::cx::{Cx, Flow};
use super::super::isa::Handler;
use super::lane::{map, Lane};
use crate::ir::SpecialReg;

/// `dst` = special register number `imm` of [`super::super::code::Code::specials`], 32 bits.
pub(in crate::engine) struct Special32;
impl Handler for Special32 {
    fn run(cx: &mut Cx<'_>, op: &Op) -> Flow {
        let values = value(cx, cx.code.specials[op.imm as usize]);
        u32::write(cx, op.dst, map(values, |v| v as u32));
        Flow::Next
    }
}

/// As [`Special32`], 64 bits.
pub(in crate::engine) struct Special64;
impl Handler for Special64 {
    fn run(cx: &mut Cx<'_>, op: &Op) -> Flow {
        let values = value(cx, cx.code.specials[op.imm as usize]);
        u64::write(cx, op.dst, values);
        Flow::Next
    }
}

/// `threadIdx` of a lane.
pub(in crate::engine) fn thread_index(block: [u32; 3], warp: u32, lane: u32) -> [u32; 3] {
    let linear = warp * LANES as u32 + lane;
    let [x, y, _] = block;
    [linear % x, linear / x % y, linear / x / y]
}

/// One coordinate of `threadIdx` of all lanes of a warp.
fn thread_indices(block: [u32; 3], warp: u32, axis: usize) -> [u64; LANES] {
    let mut next = thread_index(block, warp, 0);
    let mut indices = [0; LANES];
    for index in &mut indices {
        *index = u64::from(next[axis]);
        next[0] += 1;
        if next[0] == block[0] {
            next = [0, next[1] + 1, next[2]];
        }
        if next[1] == block[1] {
            next = [next[0], 0, next[2] + 1];
        }
    }
    indices
}

fn per_lane(f: impl Fn(u32) -> u32) -> [u64; LANES] {
    let mut values = [0; LANES];
    for (value, lane) in values.iter_mut().zip(0..) {
        *value = u64::from(f(lane));
    }
    values
}

fn value(cx: &Cx<'_>, register: SpecialReg) -> [u64; LANES] {
    let env = cx.env;
    let same = |v: u32| [u64::from(v); LANES];
    let tid = |axis| thread_indices(env.block, cx.warp, axis);
    match register {
        SpecialReg::TidX => tid(0),
        SpecialReg::TidY => tid(1),
        SpecialReg::TidZ => tid(2),
        SpecialReg::NtidX => same(env.block[0]),
        SpecialReg::NtidY => same(env.block[1]),
        SpecialReg::NtidZ => same(env.block[2]),
        SpecialReg::CtaidX | SpecialReg::ClusterIdX => same(cx.block[0]),
        SpecialReg::CtaidY | SpecialReg::ClusterIdY => same(cx.block[1]),
        SpecialReg::CtaidZ | SpecialReg::ClusterIdZ => same(cx.block[2]),
        SpecialReg::NctaidX | SpecialReg::NClusterIdX => same(env.grid[0]),
        SpecialReg::NctaidY | SpecialReg::NClusterIdY => same(env.grid[1]),
        SpecialReg::NctaidZ | SpecialReg::NClusterIdZ => same(env.grid[2]),
        SpecialReg::LaneId => per_lane(|lane| lane),
        SpecialReg::WarpId => same(cx.warp),
        SpecialReg::NWarpId => same(env.warps),
        SpecialReg::WarpSize => same(LANES as u32),
        SpecialReg::SmId => same(cx.worker),
        SpecialReg::NSmId => same(env.workers),
        SpecialReg::GridId => [env.grid_id; LANES],
        SpecialReg::LanemaskEq => per_lane(|lane| 1 << lane),
        SpecialReg::LanemaskLt => per_lane(|lane| (1 << lane) - 1),
        SpecialReg::LanemaskLe => per_lane(|lane| u32::MAX >> (31 - lane)),
        SpecialReg::LanemaskGt => per_lane(|lane| !(u32::MAX >> (31 - lane))),
        SpecialReg::LanemaskGe => per_lane(|lane| !((1 << lane) - 1)),
        SpecialReg::Clock | SpecialReg::Clock64 => [clock(cx); LANES],
        SpecialReg::ClockHi => [clock(cx) >> 32; LANES],
        SpecialReg::GlobalTimer | SpecialReg::GlobalTimerLo => [global_timer(); LANES],
        SpecialReg::GlobalTimerHi => [global_timer() >> 32; LANES],
        SpecialReg::DynamicSmemSize => same(env.dynamic_shared),
        SpecialReg::TotalSmemSize => same(env.shared),
        SpecialReg::DynamicSmemBase => same(env.shared - env.dynamic_shared),
        SpecialReg::ClusterNctaidX
        | SpecialReg::ClusterNctaidY
        | SpecialReg::ClusterNctaidZ
        | SpecialReg::ClusterNctarank => same(1),
        // Where CUDA's headers look for the grid's workspace.
        SpecialReg::EnvReg(1) => [env.grid_workspace >> 32; LANES],
        SpecialReg::EnvReg(2) => [env.grid_workspace & 0xffff_ffff; LANES],
        SpecialReg::EnvReg(_)
        | SpecialReg::Pm(_)
        | SpecialReg::ClusterCtaidX
        | SpecialReg::ClusterCtaidY
        | SpecialReg::ClusterCtaidZ
        | SpecialReg::ClusterCtarank
        | SpecialReg::IsExplicitCluster => same(0),
    }
}

/// Nanoseconds since the launch, standing for clock cycles.
fn clock(cx: &Cx<'_>) -> u64 {
    cx.env.start.elapsed().as_nanos() as u64
}

/// Nanoseconds since 1970.
fn global_timer() -> u64 {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    now.map_or(0, |d| d.as_nanos() as u64)
}

/// `dst` = local address of byte `imm` of the activation's frame.
pub(in crate::engine) struct FrameAddress;
impl Handler for FrameAddress {
    fn run(cx: &mut Cx<'_>, op: &Op) -> Flow {
        let base = cx.control.frames[cx.control.frame as usize].local_base;
        u64::write(cx, op.dst, [u64::from(base) + op.imm; LANES]);
        Flow::Next
    }
}
