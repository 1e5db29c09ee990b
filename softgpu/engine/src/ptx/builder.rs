//! Assembles one function: registers, frame, instructions and blocks.

use super::error::{full_name, invalid, text, Fail, Result};
use super::scope::{LabelId, Scopes};
use crate::ir::*;

/// Marks a [`BlockId`] that is still a label id.
const LABEL: u32 = 1 << 31;

/// Largest frame of one activation, in bytes (the limit of CUDA local memory).
const FRAME_LIMIT: u64 = 512 << 10;

/// A function under construction.
pub(super) struct Builder<'a> {
    pub(super) function: Function,
    pub(super) scopes: Scopes<'a>,
    /// Position of the current statement.
    pub(super) at: PtxPos,
    /// Shared variables referred to.
    pub(super) shared: Vec<u32>,
    /// Block that each label starts, by label id.
    label_blocks: Vec<Option<BlockId>>,
    /// First instruction of the block being filled.
    open: Option<u32>,
    /// Whether the last block continues in the next one.
    falls_through: bool,
    carry: Option<Reg>,
}

impl<'a> Builder<'a> {
    pub(super) fn new(name: &[u8], is_entry: bool, linkage: Linkage) -> Self {
        let function = Function { name: full_name(name), is_entry, linkage, frame_align: 1, ..Function::default() };
        Builder {
            function,
            scopes: Scopes::new(),
            at: PtxPos::default(),
            shared: Vec::new(),
            label_blocks: Vec::new(),
            open: Some(0),
            falls_through: false,
            carry: None,
        }
    }

    /// A new virtual register.
    pub(super) fn reg(&mut self, class: RegClass) -> Reg {
        self.function.regs.push(class);
        Reg(self.function.regs.len() as u32 - 1)
    }

    /// The `CC.CF` carry flag.
    pub(super) fn carry(&mut self) -> Reg {
        if let Some(reg) = self.carry {
            return reg;
        }
        let reg = self.reg(RegClass::Pred);
        self.carry = Some(reg);
        reg
    }

    /// Reserves `size` bytes of the frame.
    pub(super) fn frame(&mut self, size: u64, align: u32) -> Result<u32> {
        let offset = u64::from(self.function.frame_size).next_multiple_of(align.into());
        let end = offset.saturating_add(size);
        if end > FRAME_LIMIT {
            return invalid(format!("local variables exceed {FRAME_LIMIT} bytes"));
        }
        self.function.frame_size = end as u32;
        self.function.frame_align = self.function.frame_align.max(align);
        Ok(offset as u32)
    }

    pub(super) fn push(&mut self, guard: Option<Guard>, op: Op) {
        self.open_block();
        self.function.insts.push(Inst { guard, op });
        self.function.positions.push(self.at);
    }

    pub(super) fn reg_list(&mut self, regs: impl IntoIterator<Item = Reg>) -> RegList {
        let pool = &mut self.function.reg_pool;
        let start = pool.len() as u32;
        pool.extend(regs);
        RegList { start, len: pool.len() as u32 - start }
    }

    pub(super) fn operand_list(&mut self, operands: impl IntoIterator<Item = Operand>) -> OperandList {
        let pool = &mut self.function.operand_pool;
        let start = pool.len() as u32;
        pool.extend(operands);
        OperandList { start, len: pool.len() as u32 - start }
    }

    pub(super) fn arg_list(&mut self, args: impl IntoIterator<Item = CallArg>) -> ArgList {
        let pool = &mut self.function.arg_pool;
        let start = pool.len() as u32;
        pool.extend(args);
        ArgList { start, len: pool.len() as u32 - start }
    }

    /// Records a `.loc` for the instructions that follow.
    pub(super) fn source_pos(&mut self, pos: SourcePos) {
        let next = self.function.insts.len() as u32;
        match self.function.line_table.last_mut() {
            Some((inst, last)) if *inst == next => *last = pos,
            Some((_, last)) if *last == pos => {}
            _ => self.function.line_table.push((next, pos)),
        }
    }

    fn inst_count(&self) -> u32 {
        self.function.insts.len() as u32
    }

    fn open_block(&mut self) {
        if self.open.is_none() {
            self.open = Some(self.inst_count());
        }
    }

    /// Ends the open block.
    fn close_block(&mut self, terminator: Terminator) {
        let end = self.inst_count();
        let first = self.open.take().unwrap_or(end);
        self.function.blocks.push(Block { first, end, terminator, ipdom: None });
        self.falls_through = false;
    }

    /// A branch target by label name, replaced by its block in [`Builder::finish`].
    pub(super) fn label(&mut self, name: &'a [u8], at: PtxPos) -> BlockId {
        BlockId(self.scopes.label(name, at).0 | LABEL)
    }

    /// Starts a block at the label `name`.
    pub(super) fn place_label(&mut self, name: &'a [u8], at: PtxPos) -> Result<()> {
        let Some(LabelId(id)) = self.scopes.define_label(name, at) else {
            return invalid(format!("label `{}` is defined twice", text(name)));
        };
        if self.open.is_some_and(|first| first != self.inst_count()) {
            let next = BlockId(self.function.blocks.len() as u32 + 1);
            self.close_block(Terminator::Branch(next));
        }
        self.open_block();
        let block = BlockId(self.function.blocks.len() as u32);
        let index = id as usize;
        if self.label_blocks.len() <= index {
            self.label_blocks.resize(index + 1, None);
        }
        self.label_blocks[index] = Some(block);
        Ok(())
    }

    /// Ends the block with `terminator`, for lanes where `guard` holds.
    pub(super) fn terminate(&mut self, guard: Option<Guard>, terminator: Terminator) {
        let Some(cond) = guard else { return self.close_block(terminator) };
        let next = BlockId(self.function.blocks.len() as u32 + 1);
        if let Terminator::Branch(taken) = terminator {
            self.close_block(Terminator::CondBranch { cond, taken, fallthrough: next });
        } else {
            let after = BlockId(next.0 + 1);
            self.close_block(Terminator::CondBranch { cond, taken: next, fallthrough: after });
            self.close_block(terminator);
        }
        self.falls_through = true;
    }

    /// Completes the function. `unsupported` empties the body.
    pub(super) fn finish(mut self) -> Result<(Function, Vec<u32>)> {
        if let Some((name, at)) = self.scopes.undefined_label() {
            let message = format!("label `{}` is not defined", text(name));
            return Err(Fail::Invalid { at: Some(at), message });
        }
        if self.open.is_some() || self.falls_through {
            self.close_block(Terminator::Ret);
        }
        self.resolve_labels();
        let mut function = self.function;
        if function.unsupported.is_some() {
            clear_body(&mut function);
        }
        split_registers(&mut function);
        set_post_dominators(&mut function.blocks, &function.branch_tables);
        self.shared.sort_unstable();
        self.shared.dedup();
        Ok((function, self.shared))
    }

    fn resolve_labels(&mut self) {
        let blocks: Vec<Option<BlockId>> = (0..self.scopes.label_count())
            .map(|id| self.scopes.resolve(LabelId(id as u32)).0 as usize)
            .map(|id| self.label_blocks.get(id).copied().flatten())
            .collect();
        let resolve = |target: &mut BlockId| {
            if target.0 & LABEL != 0 {
                let block = blocks.get((target.0 & !LABEL) as usize).copied().flatten();
                // All labels are defined; block 0 always exists.
                *target = block.unwrap_or(BlockId(0));
            }
        };
        for block in &mut self.function.blocks {
            match &mut block.terminator {
                Terminator::Branch(target) => resolve(target),
                Terminator::CondBranch { taken, fallthrough, .. } => {
                    resolve(taken);
                    resolve(fallthrough);
                }
                _ => {}
            }
        }
        self.function.branch_tables.iter_mut().flatten().for_each(resolve);
    }
}

/// Replaces the body by a trap; parameters and results stay.
fn clear_body(function: &mut Function) {
    function.insts.clear();
    function.positions.clear();
    function.line_table.clear();
    function.branch_tables.clear();
    function.reg_pool.clear();
    function.operand_pool.clear();
    function.arg_pool.clear();
    function.blocks = vec![Block { first: 0, end: 0, terminator: Terminator::Trap, ipdom: None }];
}
