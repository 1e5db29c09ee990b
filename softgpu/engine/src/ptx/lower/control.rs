//! Branches and ends of control flow.

use super::{Lower, Statement};
use crate::ir::*;
use crate::ptx::error::{invalid, Result};
use crate::ptx::scope::Binding;

impl<'a> Lower<'_, 'a> {
    /// The terminator that an instruction is, if it is one.
    pub(super) fn terminator(&mut self, s: &mut Statement<'_, 'a>) -> Result<Option<Terminator>> {
        let terminator = match s.base {
            b"bra" => {
                s.arity(1, 1)?;
                Terminator::Branch(self.label_of(s.operand(0)?)?)
            }
            b"brx" => self.branch_indexed(s)?,
            b"ret" => Terminator::Ret,
            b"exit" => Terminator::Exit,
            b"trap" | b"brkpt" => Terminator::Trap,
            _ => return Ok(None),
        };
        s.modifiers.take("uni");
        Ok(Some(terminator))
    }

    fn branch_indexed(&mut self, s: &mut Statement<'_, 'a>) -> Result<Terminator> {
        s.arity(2, 2)?;
        s.modifiers.take("idx");
        let index = self.bits(s, 0, 32)?;
        match self.binding_of(s.operand(1)?)? {
            Binding::BranchTargets(table) => Ok(Terminator::BranchIndexed { index, table }),
            _ => invalid("`brx.idx` needs a list declared with `.branchtargets`"),
        }
    }
}
