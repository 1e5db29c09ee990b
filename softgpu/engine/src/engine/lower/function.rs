//! Decoding one function: registers, operands, blocks and terminators.

use super::super::code::{FunctionCode, Map, Op, Pred, Slot};
use super::super::isa::{plain, select, Entry};
use super::super::ops::control::{Branch, BranchIf, BranchIndexed, Exit, Trap};
use super::super::ops::moves::{Low32, Mov64, Widen, WidenSigned};
use super::super::ops::special::{FrameAddress, Special32, Special64};
use super::super::ops::{call::Return, Map1};
use super::layout::Layout;
use super::{Builder, NotExecutable, Result};
use crate::ir::{Block, BlockId, Function, FunctionId, Operand, PredOperand, Reg, RegClass, SpecialReg, Terminator};

/// Decodes a function; its operations are appended to the builder's code.
pub(super) fn lower(builder: &mut Builder<'_>, id: FunctionId) -> Result<FunctionCode> {
    let function = &builder.placed.module.functions[id.0 as usize];
    let layout = builder.layouts[id.0 as usize].take().unwrap_or_else(|| Layout::new(function));
    let mut lowering = Lowering {
        rows: layout.rows,
        most_rows: layout.rows,
        builder,
        function,
        layout,
        guard: Pred::TRUE,
        line: 0,
        block_starts: Vec::new(),
        insts: Vec::new(),
        branches: Vec::new(),
    };
    let code = lowering.run()?;
    let layout = lowering.layout;
    builder.layouts[id.0 as usize] = Some(layout);
    Ok(code)
}

/// A function being decoded.
pub(super) struct Lowering<'b, 'p> {
    pub(super) builder: &'b mut Builder<'p>,
    pub(super) function: &'p Function,
    layout: Layout,
    /// Rows in use, temporaries of the current instruction included.
    rows: u32,
    most_rows: u32,
    guard: Pred,
    line: u32,
    block_starts: Vec<u32>,
    /// Operations of each instruction.
    insts: Vec<(u32, u32)>,
    /// Operations whose immediate is a block id to be replaced by its start.
    branches: Vec<usize>,
}

impl<'p> Lowering<'_, 'p> {
    fn run(&mut self) -> Result<FunctionCode> {
        let function = self.function;
        let first_table = self.builder.code.branch_tables.len();
        if let Some(stack) = function.stack {
            // Before the first block, to which a branch may return.
            let end = self.src64(Operand::Frame(function.frame_size.next_multiple_of(16)))?;
            self.emit(select::<Map1<Mov64>>(), self.row(stack), [end, Slot(0), Slot(0)], 0);
        }
        for (number, block) in function.blocks.iter().enumerate() {
            self.block_starts.push(self.builder.code.ops.len() as u32);
            self.block(block, BlockId(number as u32 + 1))?;
        }
        for branch in std::mem::take(&mut self.branches) {
            let op = &mut self.builder.code.ops[branch];
            op.imm = u64::from(self.block_starts[op.imm as usize]);
        }
        let starts = &self.block_starts;
        let table = |blocks: &Vec<BlockId>| blocks.iter().map(|b| starts[b.0 as usize]).collect();
        let tables: Vec<Vec<u32>> = function.branch_tables.iter().map(table).collect();
        debug_assert_eq!(first_table, self.builder.code.branch_tables.len());
        self.builder.code.branch_tables.extend(tables);
        if function.is_entry {
            let (insts, blocks) = (std::mem::take(&mut self.insts), std::mem::take(&mut self.block_starts));
            self.builder.code.map = Map { places: self.layout.index.clone(), insts, blocks };
        }
        Ok(FunctionCode { entry: 0, rows: self.most_rows, preds: self.layout.preds, frame: function.frame_size })
    }

    fn block(&mut self, block: &Block, next: BlockId) -> Result<()> {
        let function = self.function;
        for index in block.first..block.end {
            let inst = &function.insts[index as usize];
            self.line = function.positions.get(index as usize).map_or(0, |at| at.line);
            self.guard = inst.guard.map_or(Pred::TRUE, |g| Pred::new(self.pred_index(g.reg), g.negated));
            self.rows = self.layout.rows;
            let first = self.builder.code.ops.len() as u32;
            self.instruction(&inst.op).map_err(|mut e| {
                if e.line == 0 {
                    e.line = self.line;
                    e.what = format!("{} at line {}", e.what, e.line);
                }
                e
            })?;
            self.insts.push((first, self.builder.code.ops.len() as u32));
        }
        self.guard = Pred::TRUE;
        self.terminator(&block.terminator, next)
    }

    fn terminator(&mut self, terminator: &Terminator, next: BlockId) -> Result<()> {
        match *terminator {
            Terminator::Branch(target) if target == next => {}
            Terminator::Branch(target) => self.branch(plain::<Branch>(), Pred::TRUE, target),
            Terminator::CondBranch { cond, taken, fallthrough } => {
                let (mut pred, mut taken, mut rest) =
                    (Pred::new(self.pred_index(cond.reg), cond.negated), taken, fallthrough);
                if taken == next {
                    (taken, rest) = (rest, taken);
                    pred = Pred(pred.0 ^ 1);
                }
                self.branch(plain::<BranchIf>(), pred, taken);
                if rest != next {
                    self.branch(plain::<Branch>(), Pred::TRUE, rest);
                }
            }
            Terminator::BranchIndexed { index, table } => {
                self.rows = self.layout.rows;
                let index = self.src32(index)?;
                // The tables of this function are appended when its blocks are done.
                let table = self.builder.code.branch_tables.len() as u64 + u64::from(table);
                self.emit(plain::<BranchIndexed>(), 0, [index, Slot(0), Slot(0)], table);
            }
            Terminator::Ret if self.function.is_entry => self.emit(plain::<Exit>(), 0, [Slot(0); 3], 0),
            Terminator::Ret => self.emit(plain::<Return>(), 0, [Slot(0); 3], 0),
            Terminator::Exit => self.emit(plain::<Exit>(), 0, [Slot(0); 3], 0),
            Terminator::Trap => self.emit(plain::<Trap>(), 0, [Slot(0); 3], 0),
        }
        Ok(())
    }

    fn branch(&mut self, entry: Entry, pred: Pred, target: BlockId) {
        self.branches.push(self.builder.code.ops.len());
        self.emit(entry, 0, [Slot(pred.0), Slot(0), Slot(0)], u64::from(target.0));
    }

    /// Appends an operation under the current guard.
    pub(super) fn emit(&mut self, entry: Entry, dst: u32, [a, b, c]: [Slot; 3], imm: u64) {
        self.builder.code.ops.push(Op { entry, guard: self.guard, dst, a, b, c, imm });
        self.builder.code.lines.push(self.line);
    }

    /// A temporary of one row.
    pub(super) fn temp32(&mut self) -> Slot {
        self.temp(1)
    }

    /// A temporary of two rows.
    pub(super) fn temp64(&mut self) -> Slot {
        self.temp(2)
    }

    fn temp(&mut self, rows: u32) -> Slot {
        let slot = Slot(self.rows);
        self.rows += rows;
        self.most_rows = self.most_rows.max(self.rows);
        slot
    }

    /// A predicate for the intermediate result of an instruction.
    pub(super) fn temp_pred(&mut self) -> u32 {
        let index = self.layout.preds;
        self.layout.preds += 1;
        index
    }

    pub(super) fn class(&self, reg: Reg) -> RegClass {
        self.function.regs[reg.0 as usize]
    }

    /// The predicate of a register.
    pub(super) fn pred_index(&self, reg: Reg) -> u32 {
        self.layout.index[reg.0 as usize]
    }

    /// The first row of a register.
    pub(super) fn row(&self, reg: Reg) -> u32 {
        self.layout.index[reg.0 as usize]
    }

    pub(super) fn pred(&self, operand: PredOperand) -> Pred {
        match operand.value {
            Operand::Reg(reg) => Pred::new(self.pred_index(reg), operand.negated),
            Operand::Imm(value) => Pred::new(0, (value != 0) != operand.negated),
            _ => Pred::new(0, operand.negated),
        }
    }

    /// A source of at most 32 bits.
    pub(super) fn src32(&mut self, operand: Operand) -> Result<Slot> {
        Ok(match operand {
            Operand::Reg(reg) => match self.class(reg) {
                RegClass::B64 | RegClass::B128 => self.low(Slot(self.row(reg))),
                _ => Slot(self.row(reg)),
            },
            Operand::Imm(value) => self.builder.constant32(value as u32),
            Operand::Special(register) => {
                let temp = self.temp32();
                let number = self.special(register);
                self.emit(plain::<Special32>(), temp.0, [Slot(0); 3], number);
                temp
            }
            Operand::Symbol { .. } | Operand::Frame(_) => {
                let wide = self.src64(operand)?;
                self.low(wide)
            }
        })
    }

    /// A source of 64 bits.
    pub(super) fn src64(&mut self, operand: Operand) -> Result<Slot> {
        Ok(match operand {
            Operand::Reg(reg) => match self.class(reg) {
                RegClass::B64 | RegClass::B128 => Slot(self.row(reg)),
                _ => {
                    let temp = self.temp64();
                    self.emit(select::<Map1<Widen>>(), temp.0, [Slot(self.row(reg)), Slot(0), Slot(0)], 0);
                    temp
                }
            },
            Operand::Imm(value) => self.builder.constant64(value),
            Operand::Special(register) => {
                let temp = self.temp64();
                let number = self.special(register);
                self.emit(plain::<Special64>(), temp.0, [Slot(0); 3], number);
                temp
            }
            Operand::Symbol { id, offset } => {
                let address = self.builder.placed.address(id).ok_or_else(|| {
                    let name = self.builder.placed.module.symbols.get(id.0 as usize);
                    let name = name.map_or("?", |s| s.name.as_str());
                    NotExecutable::new(format!("unresolved symbol `{name}`"))
                })?;
                self.builder.constant64(address.wrapping_add_signed(offset.into()))
            }
            // The kernel's own activation starts at local address 0.
            Operand::Frame(offset) if self.function.is_entry => self.builder.constant64(offset.into()),
            Operand::Frame(offset) => {
                let temp = self.temp64();
                self.emit(plain::<FrameAddress>(), temp.0, [Slot(0); 3], offset.into());
                temp
            }
        })
    }

    /// A source of the given number of bits, at most 64.
    pub(super) fn src(&mut self, operand: Operand, bits: u32) -> Result<Slot> {
        if bits == 64 {
            self.src64(operand)
        } else {
            self.src32(operand)
        }
    }

    fn low(&mut self, wide: Slot) -> Slot {
        let temp = self.temp32();
        self.emit(select::<Map1<Low32>>(), temp.0, [wide, Slot(0), Slot(0)], 0);
        temp
    }

    fn special(&mut self, register: SpecialReg) -> u64 {
        let specials = &mut self.builder.code.specials;
        let known = specials.iter().position(|s| *s == register);
        known.unwrap_or_else(|| {
            specials.push(register);
            specials.len() - 1
        }) as u64
    }

    /// Emits what computes a result of `bits` and extends it where the register is wider.
    pub(super) fn result(
        &mut self,
        dst: Reg,
        (bits, signed): (u32, bool),
        emit: impl FnOnce(&mut Self, u32) -> Result<()>,
    ) -> Result<()> {
        let row = self.row(dst);
        if bits > 32 || !matches!(self.class(dst), RegClass::B64 | RegClass::B128) {
            return emit(self, row);
        }
        let temp = self.temp32();
        emit(self, temp.0)?;
        let entry = if signed { select::<Map1<WidenSigned>>() } else { select::<Map1<Widen>>() };
        self.emit(entry, row, [temp, Slot(0), Slot(0)], 0);
        Ok(())
    }

    /// `dst = op(a)`, all of the same width.
    pub(super) fn unary(&mut self, entry: Entry, dst: Reg, bits: u32, a: Operand, imm: u64) -> Result<()> {
        let a = self.src(a, bits)?;
        self.result(dst, (bits, false), |l, d| {
            l.emit(entry, d, [a, Slot(0), Slot(0)], imm);
            Ok(())
        })
    }
}
