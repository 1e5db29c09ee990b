//! Registers that hold one thing first and are changed later.

use super::*;
use std::collections::BTreeMap;

/// Gives registers that one instruction writes where a function begins, and others elsewhere, another register for all
/// that the later writes can reach. What is only read before then has one definition: an index of a thread that a loop
/// at the end counts on from, for example, is seen to be that everywhere else.
pub fn split_registers(function: &mut Function) {
    if function.blocks.len() < 2 {
        return;
    }
    let mut places = places(function);
    places.retain(|_, places| {
        places.behind = behind(function, &places.writes);
        !places.behind[0] && places.reads.iter().any(|block| !places.behind[*block])
    });
    if places.is_empty() {
        return;
    }
    let mut copies = Vec::new();
    for (reg, places) in &mut places {
        let class = function.regs[*reg as usize];
        let (width, to) =
            (if class == RegClass::B64 { Width::W64 } else { Width::W32 }, Reg(function.regs.len() as u32));
        function.regs.push(class);
        let op = Op::Mov { width: Some(width), dst: to, src: Operand::Reg(Reg(*reg)) };
        copies.push(Inst { guard: None, op });
        places.other = to.0;
    }
    for (number, block) in function.blocks.iter_mut().enumerate() {
        let mut rename = Rename { places: &places, block: number };
        function.insts[block.first as usize..block.end as usize].iter_mut().for_each(|inst| inst.visit(&mut rename));
        if let Terminator::BranchIndexed { index, .. } = &mut block.terminator {
            rename.read(index);
        }
    }
    append_to_first_block(function, &copies);
}

/// Where a register is written later, and read.
#[derive(Default)]
struct Places {
    writes: Vec<usize>,
    reads: Vec<usize>,
    /// Blocks that a later write can reach, where another register is to be used.
    behind: Vec<bool>,
    other: u32,
}

/// Registers that one instruction of the first block writes, and others elsewhere.
fn places(function: &Function) -> BTreeMap<u32, Places> {
    let mut writes = Writes::new(function);
    let mut places = BTreeMap::new();
    for (number, block) in function.blocks.iter().enumerate() {
        for inst in function.block_insts(block) {
            (writes.is_first, writes.is_plain) = (number == 0, is_plain(inst));
            { *inst }.visit(&mut writes);
        }
    }
    for reg in writes.chosen(function) {
        places.insert(reg, Places::default());
    }
    if !places.is_empty() {
        for (number, block) in function.blocks.iter().enumerate() {
            let mut found = Found { places: &mut places, block: number };
            function.block_insts(block).iter().for_each(|inst| { *inst }.visit(&mut found));
        }
    }
    places
}

/// Whether an instruction is one of those that may give what is worth to be known: integers of all lanes.
fn is_plain(inst: &Inst) -> bool {
    let gives_integers = matches!(
        inst.op,
        Op::Mov { width: Some(_), .. }
            | Op::IntBinary { .. }
            | Op::IntTernary { .. }
            | Op::Cvt { .. }
            | Op::Cvta { .. }
    );
    inst.guard.is_none() && gives_integers
}

/// How registers are written, each at the place of its number.
struct Writes {
    is_first: bool,
    is_plain: bool,
    /// How often in the first block, if by plain instructions.
    first: Vec<Option<u32>>,
    later: Vec<bool>,
}

impl Writes {
    fn new(function: &Function) -> Writes {
        let count = function.regs.len();
        Writes { is_first: true, is_plain: false, first: vec![Some(0); count], later: vec![false; count] }
    }

    fn chosen(mut self, function: &Function) -> Vec<u32> {
        let of_argument = |arg: &CallArg| match arg {
            CallArg::Value(operand) => register(operand),
            CallArg::Frame { .. } => None,
        };
        let of_param = |param: &Param| match param.storage {
            ParamStorage::Reg(reg) => Some(reg),
            _ => None,
        };
        // Lists stay as they are, and so does what is known by its register.
        let listed = function.reg_pool.iter().copied().chain(function.operand_pool.iter().filter_map(register));
        let passed = function.arg_pool.iter().filter_map(of_argument);
        let params = function.params.iter().chain(&function.results).filter_map(of_param);
        for reg in listed.chain(passed).chain(params).chain(function.stack) {
            self.first[reg.0 as usize] = None;
        }
        let is_integer = |reg: u32| matches!(function.regs[reg as usize], RegClass::B32 | RegClass::B64);
        let is_chosen = |reg: &u32| {
            let place = *reg as usize;
            self.first[place] == Some(1) && self.later[place] && is_integer(*reg)
        };
        (0..function.regs.len() as u32).filter(is_chosen).collect()
    }
}

fn register(operand: &Operand) -> Option<Reg> {
    match operand {
        Operand::Reg(reg) => Some(*reg),
        _ => None,
    }
}

impl Visitor for Writes {
    fn def(&mut self, reg: &mut Reg) {
        let place = reg.0 as usize;
        if self.is_first {
            self.first[place] = self.first[place].filter(|_| self.is_plain).map(|count| count + 1);
        } else {
            self.later[place] = true;
        }
    }
    fn read(&mut self, _: &mut Operand) {}
    fn read_reg(&mut self, _: &mut Reg) {}
    fn def_list(&mut self, _: RegList) {}
    fn read_list(&mut self, _: OperandList) {}
    fn arg_list(&mut self, _: ArgList, _: bool) {}
}

/// Finds where some registers are written and read.
struct Found<'a> {
    places: &'a mut BTreeMap<u32, Places>,
    block: usize,
}

impl Visitor for Found<'_> {
    fn def(&mut self, reg: &mut Reg) {
        if let Some(places) = self.places.get_mut(&reg.0).filter(|_| self.block != 0) {
            places.writes.push(self.block);
        }
    }
    fn read(&mut self, operand: &mut Operand) {
        if let Operand::Reg(reg) = operand {
            self.read_reg(reg);
        }
    }
    fn read_reg(&mut self, reg: &mut Reg) {
        if let Some(places) = self.places.get_mut(&reg.0) {
            places.reads.push(self.block);
        }
    }
    fn def_list(&mut self, _: RegList) {}
    fn read_list(&mut self, _: OperandList) {}
    fn arg_list(&mut self, _: ArgList, _: bool) {}
}

/// Some blocks, and those that can follow them.
fn behind(function: &Function, from: &[usize]) -> Vec<bool> {
    let mut found = vec![false; function.blocks.len()];
    let mut next = from.to_vec();
    while let Some(block) = next.pop() {
        if !std::mem::replace(&mut found[block], true) {
            let terminator = &function.blocks[block].terminator;
            for_each_successor(terminator, &function.branch_tables, |target| next.push(target.0 as usize));
        }
    }
    found
}

/// Puts the other registers in the place of registers, in one block.
struct Rename<'a> {
    places: &'a BTreeMap<u32, Places>,
    block: usize,
}

impl Visitor for Rename<'_> {
    fn def(&mut self, reg: &mut Reg) {
        self.read_reg(reg);
    }

    fn read(&mut self, operand: &mut Operand) {
        if let Operand::Reg(reg) = operand {
            self.read_reg(reg);
        }
    }

    fn read_reg(&mut self, reg: &mut Reg) {
        if let Some(places) = self.places.get(&reg.0).filter(|places| places.behind[self.block]) {
            reg.0 = places.other;
        }
    }

    fn def_list(&mut self, _: RegList) {}
    fn read_list(&mut self, _: OperandList) {}
    fn arg_list(&mut self, _: ArgList, _: bool) {}
}

/// Adds instructions where the first block ends.
fn append_to_first_block(function: &mut Function, added: &[Inst]) {
    let (at, count) = (function.blocks[0].end, added.len() as u32);
    let position = function.positions.get(at.saturating_sub(1) as usize).copied().unwrap_or_default();
    function.insts.splice(at as usize..at as usize, added.iter().copied());
    function.positions.splice(at as usize..at as usize, added.iter().map(|_| position));
    function.blocks[0].end += count;
    for block in &mut function.blocks[1..] {
        (block.first, block.end) = (block.first + count, block.end + count);
    }
    for (first, _) in function.line_table.iter_mut().filter(|(first, _)| *first >= at) {
        *first += count;
    }
}
