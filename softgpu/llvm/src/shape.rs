//! How the values of a register differ between the lanes of a warp.

use crate::bits;
use crate::flow::Graph;
use std::collections::BTreeSet;
use vgpu_engine::engine::{Source, Steps};
use vgpu_engine::ir::*;

/// How values differ, from the most to the least regular.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shape {
    /// The same in all lanes.
    Uniform,
    /// They follow from the first lane's and the bits of each lane's number, which is not nothing.
    Line(Steps),
    /// In each half of a warp, they follow from its first lane's in the same way. Rows of a block that is 16 wide are
    /// halves of a warp.
    Affine(Steps),
    Varying,
}

impl Shape {
    /// The same in each half.
    pub const SCALARS: Shape = Shape::Affine(Steps([0; 5]));

    /// Whether each half has one value.
    pub fn is_scalar(self) -> bool {
        self == Shape::Uniform || self == Shape::SCALARS
    }

    /// The shape of a register that can have either.
    pub fn join(self, other: Shape) -> Shape {
        match (self, other) {
            (a, b) if a == b => a,
            (a, b) => match (a.steps(), b.steps()) {
                (Some(a), Some(b)) if in_half(a) == in_half(b) => Shape::Affine(in_half(a)),
                _ => Shape::Varying,
            },
        }
    }

    /// The shape of an operation's result that is computed lane by lane.
    pub fn lanewise(shapes: impl IntoIterator<Item = Shape>) -> Shape {
        shapes.into_iter().fold(Shape::Uniform, |a, b| match (a, b) {
            (Shape::Uniform, Shape::Uniform) => Shape::Uniform,
            (a, b) if a.is_scalar() && b.is_scalar() => Shape::SCALARS,
            _ => Shape::Varying,
        })
    }

    fn line(steps: Steps) -> Shape {
        match steps {
            Steps([0, 0, 0, 0, 0]) => Shape::Uniform,
            // Each half has one value, which is computed with as such.
            Steps([0, 0, 0, 0, _]) => Shape::SCALARS,
            steps => Shape::Line(steps),
        }
    }

    /// Whether one value tells those of the whole warp.
    pub fn is_whole(self) -> bool {
        matches!(self, Shape::Uniform | Shape::Line(_))
    }

    /// How what is regular differs between the lanes that follow from one value.
    pub fn steps(self) -> Option<Steps> {
        match self {
            Shape::Uniform => Some(Steps::default()),
            Shape::Line(steps) | Shape::Affine(steps) => Some(steps),
            Shape::Varying => None,
        }
    }

    /// The same with other steps, wrapped to a width.
    pub fn with_steps(self, steps: Steps, bits: u32) -> Shape {
        let steps = Steps(steps.0.map(|step| wrap(step, bits)));
        match self {
            Shape::Affine(_) => Shape::Affine(in_half(steps)),
            _ => Shape::line(steps),
        }
    }

    /// The same with each step changed, wrapped to a width; what varies does so still.
    pub fn scaled(self, bits: u32, change: impl Fn(i64) -> i64) -> Shape {
        self.steps().map_or(self, |steps| self.with_steps(Steps(steps.0.map(change)), bits))
    }

    /// The shape of a sum or the like, with the steps wrapped to a width.
    fn affine([a, b]: [Shape; 2], bits: u32, sum: impl Fn(i64, i64) -> i64) -> Shape {
        let (Some(Steps(x)), Some(Steps(y))) = (a.steps(), b.steps()) else { return Shape::Varying };
        let steps = Steps(std::array::from_fn(|bit| sum(x[bit], y[bit])));
        let whole = if b.is_whole() { a } else { b };
        whole.with_steps(steps, bits)
    }

    /// The same bits read as a narrower or wider integer.
    pub fn resized(self, from: u32, to: u32) -> Shape {
        match self {
            shape if shape.is_scalar() => shape,
            shape if to == from || (to == 32 && from == 64) => shape.scaled(to, |step| step),
            _ => Shape::Varying,
        }
    }
}

/// Without what the second half has more.
pub fn in_half(Steps([a, b, c, d, _]): Steps) -> Steps {
    Steps([a, b, c, d, 0])
}

/// A step modulo a width.
fn wrap(step: i64, bits: u32) -> i64 {
    if bits == 32 {
        i64::from(step as i32)
    } else {
        step
    }
}

/// How an instruction is compiled.
pub enum Treatment {
    /// Its result depends on its operands only.
    Pure,
    /// A load or store that is checked, and executed by the interpreter where it fails.
    Access,
    /// The interpreter executes it.
    Execute,
    /// The interpreter executes it once the lanes named are all here.
    ExecuteTogether(Operand),
    /// Between lanes: see `warp.rs`.
    Warp,
    /// Of matrices in the registers of all lanes: see `matrix.rs`.
    Matrix,
    /// Waits for the block.
    Barrier,
    /// It, or what it is used for, cannot be compiled.
    No(&'static str),
}

/// What is known about a register.
#[derive(Clone, Copy)]
pub struct RegInfo {
    pub shape: Shape,
    /// Some write happens while other lanes wait to whom the value before it matters.
    pub blend: bool,
    /// It holds `f32` whose NaNs are not canonical yet.
    pub lazy: bool,
    /// What it always holds.
    pub constant: Option<u64>,
    /// Bits that are zero in the first lane's value, or that of each half, unless it is varying.
    pub zeros: u64,
}

/// The result of the analyses.
pub struct Analysis {
    pub graph: Graph,
    /// For each block, where other lanes may wait while it runs.
    pub waiting: Vec<BTreeSet<usize>>,
    pub regs: Vec<RegInfo>,
    /// Which blocks some lanes may run when others have ended.
    pub may_lack: Vec<bool>,
    /// Which terminators may send lanes to different blocks.
    pub diverges: Vec<bool>,
}

/// Where a register is written.
struct Def {
    inst: usize,
    block: usize,
}

pub fn analyse(
    source: &Source<'_>,
    liveness: &Liveness<'_>,
    treat: &dyn Fn(&Op) -> Treatment,
) -> Result<Analysis, String> {
    let function = source.function;
    let graph = Graph::new(function)?;
    let count = function.regs.len();
    let mut defs: Vec<Vec<Def>> = (0..count).map(|_| Vec::new()).collect();
    for &block in &graph.order {
        let b = &function.blocks[block];
        for inst in b.first as usize..b.end as usize {
            let all = Uses::of_inst(function, &function.insts[inst]);
            all.writes.iter().for_each(|r| {
                defs[*r as usize].push(Def { inst, block });
            });
        }
    }
    let mut regs =
        vec![RegInfo { shape: Shape::Uniform, blend: false, lazy: false, constant: None, zeros: u64::MAX }; count];
    find_constants(function, &defs, &mut regs);
    let mut known: Vec<bool> = defs.iter().map(Vec::is_empty).collect();
    loop {
        let diverges: Vec<bool> = (0..function.blocks.len()).map(|b| diverges(function, b, &regs)).collect();
        let waiting = graph.waiting(&diverges);
        for reg in 0..count {
            regs[reg].blend = defs[reg].iter().any(|d| keeps_others(liveness, &waiting[d.block], reg as u32));
            if regs[reg].blend {
                regs[reg].shape = Shape::Varying;
            }
        }
        let mut changed = true;
        while changed {
            changed = false;
            for reg in 0..count {
                for d in &defs[reg] {
                    // What depends on nothing known yet has to wait; cycles of it hold nothing.
                    let reads = Uses::of_inst(function, &function.insts[d.inst]).reads;
                    if reads.iter().any(|r| !known[*r as usize]) {
                        continue;
                    }
                    let shape = result(source, &regs, d, reg, treat);
                    let joined = if known[reg] { regs[reg].shape.join(shape) } else { shape };
                    let zeros = regs[reg].zeros & zeros(source, &regs, d, treat);
                    changed |= !known[reg] || joined != regs[reg].shape || zeros != regs[reg].zeros;
                    (regs[reg].shape, regs[reg].zeros, known[reg]) = (joined, zeros, true);
                }
            }
        }
        let again = (0..function.blocks.len()).any(|b| diverges[b] != self::diverges(function, b, &regs));
        if !again {
            find_lazy(function, &defs, &mut regs);
            let may_lack = may_lack(&graph, &waiting, &diverges);
            return Ok(Analysis { graph, waiting, regs, may_lack, diverges });
        }
    }
}

/// Which blocks some lanes may run when others have ended: those behind blocks where only some end.
fn may_lack(graph: &Graph, waiting: &[BTreeSet<usize>], diverges: &[bool]) -> Vec<bool> {
    let mut found = vec![false; graph.successors.len()];
    let leaves = |b: &&usize| graph.exits[**b] && (diverges[**b] || !waiting[**b].is_empty());
    let behind = |b: &usize| graph.successors[*b].iter().chain(&waiting[*b]).copied();
    let mut next: Vec<usize> = graph.order.iter().filter(leaves).flat_map(behind).collect();
    while let Some(block) = next.pop() {
        if !std::mem::replace(&mut found[block], true) {
            next.extend(behind(&block));
        }
    }
    found
}

/// Whether a write has to keep what a register holds for lanes that wait at other blocks meanwhile.
pub fn keeps_others(liveness: &Liveness<'_>, waiting: &BTreeSet<usize>, reg: u32) -> bool {
    waiting.iter().any(|block| contains(liveness.live_in(*block), reg))
}

fn diverges(function: &Function, block: usize, regs: &[RegInfo]) -> bool {
    match function.blocks[block].terminator {
        Terminator::CondBranch { cond, .. } => regs[cond.reg.0 as usize].shape != Shape::Uniform,
        Terminator::BranchIndexed { index: Operand::Reg(reg), .. } => regs[reg.0 as usize].shape != Shape::Uniform,
        _ => false,
    }
}

/// Shape of a special register; `None` if only the interpreter knows it.
pub fn special(source: &Source<'_>, register: SpecialReg) -> Option<Shape> {
    use SpecialReg::*;
    Some(match register {
        TidX if source.shape.lines => Shape::Line(Steps::line(1)),
        TidY | TidZ if source.shape.lines => Shape::Uniform,
        TidX if source.shape.rows => Shape::Affine(in_half(Steps::line(1))),
        TidY | TidZ if source.shape.rows => Shape::SCALARS,
        TidX | TidY | TidZ => Shape::Varying,
        LaneId => Shape::Line(Steps::line(1)),
        LanemaskEq | LanemaskLe | LanemaskLt | LanemaskGe | LanemaskGt => Shape::Varying,
        NtidX | NtidY | NtidZ | CtaidX | CtaidY | CtaidZ | NctaidX | NctaidY | NctaidZ | WarpId | NWarpId
        | WarpSize | DynamicSmemSize | TotalSmemSize | DynamicSmemBase => Shape::Uniform,
        _ => return None,
    })
}

/// Shape of an operand read as an integer of a width.
pub fn operand(source: &Source<'_>, regs: &[RegInfo], operand: Operand, bits: u32) -> Shape {
    match operand {
        Operand::Reg(reg) => {
            let class = source.function.regs[reg.0 as usize].bits().max(32);
            regs[reg.0 as usize].shape.resized(class, bits)
        }
        Operand::Special(register) => special(source, register).unwrap_or(Shape::Varying).resized(32, bits),
        Operand::Imm(_) | Operand::Symbol { .. } | Operand::Frame(_) => Shape::Uniform,
    }
}

fn result(source: &Source<'_>, regs: &[RegInfo], def: &Def, reg: usize, treat: &dyn Fn(&Op) -> Treatment) -> Shape {
    let inst = &source.function.insts[def.inst];
    if inst.guard.is_some_and(|g| regs[g.reg.0 as usize].shape != Shape::Uniform) || regs[reg].blend {
        return Shape::Varying;
    }
    let op = with_constants(regs, &inst.op);
    match treat(&inst.op) {
        Treatment::Pure => pure(source, regs, &op),
        Treatment::Access => loaded(source, regs, &inst.op),
        Treatment::Warp => crate::generate::warp::shape(source, regs, &op),
        Treatment::Execute
        | Treatment::ExecuteTogether(_)
        | Treatment::Matrix
        | Treatment::Barrier
        | Treatment::No(_) => Shape::Varying,
    }
}

/// Bits that are zero in the first lane's value of what a definition gives.
fn zeros(source: &Source<'_>, regs: &[RegInfo], def: &Def, treat: &dyn Fn(&Op) -> Treatment) -> u64 {
    let op = &source.function.insts[def.inst].op;
    match treat(op) {
        Treatment::Pure => bits::of_result(source, regs, &with_constants(regs, op)),
        _ => 0,
    }
}

/// Shape of what a load gives.
fn loaded(source: &Source<'_>, regs: &[RegInfo], op: &Op) -> Shape {
    let (Op::Load { space, addr, .. } | Op::LoadVec { space, addr, .. }) = op else { return Shape::Varying };
    let bits = crate::generate::memory::address_bits(source.function, *addr);
    match space {
        Space::Param => Shape::Uniform,
        // Generic addresses may be those of local memory.
        Space::Local | Space::Generic => Shape::Varying,
        Space::Global | Space::Const | Space::Shared => Shape::lanewise([operand(source, regs, addr.base, bits)]),
    }
}

/// Finds registers that are written once, with a constant.
fn find_constants(function: &Function, defs: &[Vec<Def>], regs: &mut [RegInfo]) {
    for (defs, info) in defs.iter().zip(regs) {
        let [def] = &defs[..] else { continue };
        let Inst { guard: None, op: Op::Mov { width: Some(width), src: Operand::Imm(value), .. } } =
            function.insts[def.inst]
        else {
            continue;
        };
        info.constant = match width {
            Width::W32 => Some(u64::from(value as u32)),
            Width::W64 => Some(value),
            _ => None,
        };
    }
}

/// An operand, or the constant that it always is.
pub fn known(regs: &[RegInfo], operand: Operand) -> Operand {
    match operand {
        Operand::Reg(reg) => regs[reg.0 as usize].constant.map_or(operand, Operand::Imm),
        _ => operand,
    }
}

/// An operation with constants in place of registers that always hold them, but for addresses.
pub fn with_constants(regs: &[RegInfo], op: &Op) -> Op {
    struct Constants<'a>(&'a [RegInfo]);
    impl Visitor for Constants<'_> {
        fn def(&mut self, _: &mut Reg) {}
        fn read(&mut self, operand: &mut Operand) {
            *operand = known(self.0, *operand);
        }
        fn read_reg(&mut self, _: &mut Reg) {}
        fn def_list(&mut self, _: RegList) {}
        fn read_list(&mut self, _: OperandList) {}
        fn arg_list(&mut self, _: ArgList, _: bool) {}
    }
    let mut op = *op;
    if !matches!(op, Op::Load { .. } | Op::LoadVec { .. } | Op::Store { .. } | Op::StoreVec { .. } | Op::Atom { .. }) {
        op.visit(&mut Constants(regs));
    }
    op
}

/// The constant that an operand is.
fn immediate(operand: Operand) -> Option<i64> {
    match operand {
        Operand::Imm(value) => Some(value as i64),
        _ => None,
    }
}

fn extended(value: i64, ty: IntType) -> i64 {
    match ty {
        IntType::U16 => i64::from(value as u16),
        IntType::S16 => i64::from(value as i16),
        IntType::U32 => i64::from(value as u32),
        IntType::S32 => i64::from(value as i32),
        _ => value,
    }
}

/// Whether an operation on this type keeps strides.
pub fn keeps_strides(ty: IntType) -> bool {
    matches!(ty, IntType::U32 | IntType::S32 | IntType::U64 | IntType::S64)
}

/// The factor by which `mul` or `mad` with a constant operand scales strides, with the other operand.
pub fn scaled(ty: IntType, a: Operand, b: Operand) -> Option<(Operand, i64)> {
    match (immediate(a), immediate(b)) {
        (_, Some(factor)) => Some((a, extended(factor, ty))),
        (Some(factor), _) => Some((b, extended(factor, ty))),
        _ => None,
    }
}

/// Shape of a product; the second is that of the factor that is not constant.
fn product(source: &Source<'_>, regs: &[RegInfo], ty: IntType, [a, b]: [Operand; 2], bits: u32) -> Shape {
    let shape = |o| operand(source, regs, o, ty.bits());
    match scaled(ty, a, b) {
        Some((other, factor)) if keeps_strides(ty) => shape(other).scaled(bits, |step| step.wrapping_mul(factor)),
        _ => Shape::lanewise([shape(a), shape(b)]),
    }
}

/// Shape of an operation's result that depends on its operands only. Code generation follows it.
pub fn pure(source: &Source<'_>, regs: &[RegInfo], op: &Op) -> Shape {
    let of = |o: Operand, bits: u32| operand(source, regs, o, bits);
    match *op {
        Op::Mov { width: Some(width), src, .. } => of(src, width.bits()),
        Op::IntBinary { op: IntBinaryOp::Add, ty, a, b, .. } if keeps_strides(ty) => {
            Shape::affine([of(a, ty.bits()), of(b, ty.bits())], ty.bits(), i64::wrapping_add)
        }
        Op::IntBinary { op: IntBinaryOp::Sub, ty, a, b, .. } if keeps_strides(ty) => {
            Shape::affine([of(a, ty.bits()), of(b, ty.bits())], ty.bits(), i64::wrapping_sub)
        }
        Op::IntBinary { op: IntBinaryOp::MulLo, ty, a, b, .. } if keeps_strides(ty) => {
            product(source, regs, ty, [a, b], ty.bits())
        }
        Op::IntBinary { op: IntBinaryOp::MulWide, ty: ty @ (IntType::U32 | IntType::S32), a, b, .. } => {
            product(source, regs, ty, [a, b], 64)
        }
        Op::IntBinary { op: IntBinaryOp::Shl, ty, a, b: Operand::Imm(amount), .. } if keeps_strides(ty) => {
            let shape = of(a, ty.bits());
            match amount < u64::from(ty.bits()) {
                true => shape.scaled(ty.bits(), |step| step.wrapping_shl(amount as u32)),
                false => Shape::lanewise([shape]),
            }
        }
        Op::IntBinary {
            op: op @ (IntBinaryOp::And | IntBinaryOp::Or | IntBinaryOp::Xor | IntBinaryOp::Shr),
            ty,
            a,
            b,
            ..
        } if keeps_strides(ty) => {
            let (first, second) = (of(a, ty.bits()), of(b, ty.bits()));
            let known = match (op, b) {
                (IntBinaryOp::And, Operand::Imm(mask)) => bits::masked(source, regs, (a, first), ty, mask),
                (IntBinaryOp::Shr, Operand::Imm(by)) => bits::shifted(source, regs, (a, first), ty, by),
                (IntBinaryOp::Xor, Operand::Imm(by)) => bits::flipped(source, regs, (a, first), ty, by),
                (IntBinaryOp::Or, _) => bits::joined(source, regs, (a, first), (b, second), ty),
                _ => None,
            };
            known.unwrap_or_else(|| Shape::lanewise([first, second]))
        }
        Op::IntUnary { op: IntUnaryOp::Brev, ty: ty @ (IntType::U32 | IntType::S32), a, .. } => {
            let shape = of(a, ty.bits());
            bits::reversed(source, regs, (a, shape)).unwrap_or_else(|| Shape::lanewise([shape]))
        }
        Op::IntTernary { op: IntTernaryOp::MadLo, ty, a, b, c, .. } if keeps_strides(ty) => {
            let product = product(source, regs, ty, [a, b], ty.bits());
            Shape::affine([product, of(c, ty.bits())], ty.bits(), i64::wrapping_add)
        }
        Op::IntTernary { op: IntTernaryOp::MadWide, ty: ty @ (IntType::U32 | IntType::S32), a, b, c, .. } => {
            let product = product(source, regs, ty, [a, b], 64);
            Shape::affine([product, of(c, 64)], 64, i64::wrapping_add)
        }
        Op::Cvt { to: CvtType::Int(to), from: CvtType::Int(from), a, .. }
            if keeps_strides(to) && keeps_strides(from) =>
        {
            of(a, from.bits()).scaled(to.bits(), |step| step)
        }
        Op::Cvta { dst, a, .. } => of(a, if source.function.regs[dst.0 as usize] == RegClass::B64 { 64 } else { 32 }),
        _ => {
            let mut inst = Inst { guard: None, op: *op };
            let mut shapes = Operands { source, regs, all: Vec::new() };
            inst.visit(&mut shapes);
            Shape::lanewise(shapes.all)
        }
    }
}

/// Shapes of everything that an instruction reads.
struct Operands<'a> {
    source: &'a Source<'a>,
    regs: &'a [RegInfo],
    all: Vec<Shape>,
}

impl Visitor for Operands<'_> {
    fn def(&mut self, _: &mut Reg) {}
    fn read(&mut self, operand: &mut Operand) {
        self.all.push(self::operand(self.source, self.regs, *operand, 32));
    }
    fn read_reg(&mut self, reg: &mut Reg) {
        self.all.push(self.regs[reg.0 as usize].shape);
    }
    fn def_list(&mut self, _: RegList) {}
    fn read_list(&mut self, list: OperandList) {
        for operand in self.source.function.operand_list(list) {
            self.read(&mut operand.clone());
        }
    }
    fn arg_list(&mut self, _: ArgList, _: bool) {
        self.all.push(Shape::Varying);
    }
}

/// Finds registers that only hold results of `f32` arithmetic, whose NaNs need not be made canonical
/// before something else than arithmetic looks at them.
fn find_lazy(function: &Function, defs: &[Vec<Def>], regs: &mut [RegInfo]) {
    for (reg, info) in regs.iter_mut().enumerate() {
        info.lazy = function.regs[reg] == RegClass::B32 && !defs[reg].is_empty();
    }
    let mut changed = true;
    while changed {
        changed = false;
        for reg in 0..defs.len() {
            let holds = |d: &Def| match function.insts[d.inst].op {
                Op::Mov { src: Operand::Reg(from), .. } => regs[from.0 as usize].lazy,
                Op::Mov { src: Operand::Imm(value), .. } => !f32::from_bits(value as u32).is_nan(),
                Op::FloatBinary { ty: FloatType::F32, op, .. } => op != FloatBinaryOp::Copysign,
                Op::FloatTernary { ty: FloatType::F32, .. } => true,
                Op::FloatUnary { ty: FloatType::F32, op, .. } => !matches!(op, FloatUnaryOp::Neg | FloatUnaryOp::Abs),
                _ => false,
            };
            if regs[reg].lazy && !defs[reg].iter().all(holds) {
                regs[reg].lazy = false;
                changed = true;
            }
        }
    }
    // Copies alone are no arithmetic.
    for (reg, info) in regs.iter_mut().enumerate() {
        let mov = |d: &Def| matches!(function.insts[d.inst].op, Op::Mov { src: Operand::Imm(_), .. });
        info.lazy &= !defs[reg].iter().all(mov);
    }
}
