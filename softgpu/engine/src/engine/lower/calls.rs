//! Calls.

use super::super::code::Slot;
use super::super::isa::plain;
use super::super::ops::call::{Call, CallRuntime, CallSpec, Callee, Place};
use super::super::runtime;
use super::arith::unknown;
use super::function::Lowering;
use super::Result;
use crate::ir::{ArgList, CallArg, CallTarget, Operand, ParamShape, RegClass};

/// Whether each value of a list is passed in two rows; `None`: in the frame.
type Shapes = Vec<Option<bool>>;

impl Lowering<'_, '_> {
    pub(super) fn call(&mut self, target: CallTarget, results: ArgList, args: ArgList) -> Result<()> {
        let (result_shapes, arg_shapes) = self.shapes(target);
        let args = self.arguments(args, &arg_shapes)?;
        let results = self.results(target, results, &result_shapes)?;
        let (callee, entry, number) = match target {
            CallTarget::Function(id) => (Callee::Function(id.0), plain::<Call>(), 0),
            CallTarget::Intrinsic(function) => {
                (Callee::Function(u32::MAX), plain::<CallRuntime>(), runtime::number(function))
            }
            CallTarget::Indirect { address, .. } => (Callee::Address(self.src64(address)?), plain::<Call>(), 0),
        };
        let site = self.builder.code.calls.len() as u64;
        let stack = self.function.stack.map(|reg| Slot(self.row(reg)));
        self.builder.code.calls.push(CallSpec { callee, args, results, stack });
        self.emit(entry, number, [Slot(0); 3], site);
        Ok(())
    }

    /// Shapes of results and arguments where the callee or a prototype tells them.
    fn shapes(&self, target: CallTarget) -> (Shapes, Shapes) {
        match target {
            CallTarget::Function(id) => {
                let function = &self.builder.placed.module.functions[id.0 as usize];
                let shape = |p: &crate::ir::Param| match p.storage {
                    crate::ir::ParamStorage::Reg(reg) => Some(function.regs[reg.0 as usize] == RegClass::B64),
                    _ => None,
                };
                (function.results.iter().map(shape).collect(), function.params.iter().map(shape).collect())
            }
            CallTarget::Indirect { signature, .. } => {
                let shape = |s: &ParamShape| match s {
                    ParamShape::Scalar { size } => Some(*size == 8),
                    ParamShape::Bytes { .. } => None,
                };
                match self.builder.placed.module.signatures.get(signature.0 as usize) {
                    Some(s) => (s.results.iter().map(shape).collect(), s.params.iter().map(shape).collect()),
                    None => (Vec::new(), Vec::new()),
                }
            }
            CallTarget::Intrinsic(_) => (Vec::new(), Vec::new()),
        }
    }

    fn arguments(&mut self, list: ArgList, shapes: &Shapes) -> Result<Vec<Place>> {
        let function = self.function;
        let args = function.arg_list(list).iter().enumerate();
        args.map(|(n, arg)| match *arg {
            CallArg::Value(operand) => {
                let wide = match shapes.get(n) {
                    Some(Some(wide)) => *wide,
                    _ => self.is_wide(operand),
                };
                Ok(if wide { Place::Long(self.src64(operand)?) } else { Place::Word(self.src32(operand)?) })
            }
            CallArg::Frame { offset, size } => Ok(Place::Bytes { offset, size }),
        })
        .collect()
    }

    fn results(&mut self, target: CallTarget, list: ArgList, shapes: &Shapes) -> Result<Vec<Place>> {
        // A result that the callee does not have stays undefined.
        let count = if matches!(target, CallTarget::Function(_)) { shapes.len() } else { usize::MAX };
        let results = self.function.arg_list(list).iter().take(count).enumerate();
        results
            .map(|(n, arg)| match *arg {
                CallArg::Value(Operand::Reg(reg)) => {
                    let wide = self.class(reg) == RegClass::B64;
                    if shapes.get(n).is_some_and(|s| s.is_some_and(|w| w != wide)) {
                        return Err(unknown("call result of another width"));
                    }
                    let slot = Slot(self.row(reg));
                    Ok(if wide { Place::Long(slot) } else { Place::Word(slot) })
                }
                CallArg::Value(operand) => Err(unknown(("call result", operand))),
                CallArg::Frame { offset, size } => Ok(Place::Bytes { offset, size }),
            })
            .collect()
    }

    fn is_wide(&self, operand: Operand) -> bool {
        match operand {
            Operand::Reg(reg) => self.class(reg) == RegClass::B64,
            Operand::Imm(_) | Operand::Special(_) => false,
            Operand::Symbol { .. } | Operand::Frame(_) => true,
        }
    }
}
