//! Text form of the IR, for tests and logs.

use super::*;
use std::fmt;
use std::hash::{DefaultHasher, Hash, Hasher};

impl fmt::Debug for Reg {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "%{}", self.0)
    }
}

impl fmt::Debug for BlockId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "b{}", self.0)
    }
}

impl fmt::Debug for Operand {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Operand::Reg(reg) => write!(f, "{reg:?}"),
            Operand::Imm(value) => write!(f, "{value:#x}"),
            Operand::Special(reg) => write!(f, "{reg:?}"),
            Operand::Symbol { id, offset } => write!(f, "symbol{}{offset:+}", id.0),
            Operand::Frame(offset) => write!(f, "frame{offset:+}"),
        }
    }
}

impl fmt::Debug for PredOperand {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{:?}", if self.negated { "!" } else { "" }, self.value)
    }
}

impl fmt::Debug for Guard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{:?}", if self.negated { "!" } else { "" }, self.reg)
    }
}

impl fmt::Debug for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "[{:?}{:+}]", self.base, self.offset)
    }
}

/// One line per instruction; lists are written as their contents.
impl fmt::Display for Function {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = if self.is_entry { "entry" } else { "func" };
        writeln!(f, "{kind} {} frame={} shared={}", self.name, self.frame_size, self.shared_size)?;
        for (index, block) in self.blocks.iter().enumerate() {
            write!(f, "b{index}:")?;
            match block.ipdom {
                Some(ipdom) => writeln!(f, " joins {ipdom:?}")?,
                None => writeln!(f)?,
            }
            for inst in self.block_insts(block) {
                self.print_inst(f, inst)?;
            }
            match block.terminator {
                Terminator::BranchIndexed { index, table } => {
                    writeln!(f, "  BranchIndexed {index:?} {:?}", self.branch_tables.get(table as usize))?;
                }
                terminator => writeln!(f, "  {terminator:?}")?,
            }
        }
        Ok(())
    }
}

impl Function {
    /// A name for files about this function: its own, shortened, and a number made of all that it contains.
    pub fn listing_name(&self) -> String {
        const LONGEST: usize = 100;
        let mut hasher = DefaultHasher::new();
        self.to_string().hash(&mut hasher);
        let plain = |c: char| if c.is_ascii_alphanumeric() || c == '_' { c } else { '.' };
        let name: String = self.name.chars().take(LONGEST).map(plain).collect();
        format!("{name}-{:016x}", hasher.finish())
    }

    fn print_inst(&self, f: &mut fmt::Formatter<'_>, inst: &Inst) -> fmt::Result {
        write!(f, "  ")?;
        if let Some(guard) = inst.guard {
            write!(f, "@{guard:?} ")?;
        }
        write!(f, "{:?}", inst.op)?;
        match inst.op {
            Op::Pack { src, .. }
            | Op::StoreVec { src, .. }
            | Op::MatrixStore { src, .. }
            | Op::StoreTiles { src, .. } => write!(f, " {:?}", self.operand_list(src))?,
            Op::Unpack { dst, .. }
            | Op::LoadVec { dst, .. }
            | Op::MatrixLoad { dst, .. }
            | Op::LoadTiles { dst, .. } => write!(f, " {:?}", self.reg_list(dst))?,
            Op::Tex(Tex { dst, sources, .. }) | Op::Surf(Surf { dst, sources, .. }) => {
                write!(f, " {:?} {:?}", self.reg_list(dst), self.operand_list(sources))?;
            }
            Op::Mma(Mma { dst, a, b, c, .. }) => {
                write!(f, " {:?}", self.reg_list(dst))?;
                for list in [a, b, c] {
                    write!(f, " {:?}", self.operand_list(list))?;
                }
            }
            Op::Call { results, args, .. } => {
                write!(f, " {:?} {:?}", self.arg_list(results), self.arg_list(args))?;
            }
            _ => {}
        }
        writeln!(f)
    }
}
