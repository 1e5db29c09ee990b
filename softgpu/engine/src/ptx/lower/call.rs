//! Calls.

use super::{Lower, Statement};
use crate::ir::*;
use crate::ptx::error::{invalid, Result};
use crate::ptx::operand::{Raw, RawOperand};
use crate::ptx::resolve::Immediate;
use crate::ptx::scope::Binding;

/// Operands of a call by role.
struct CallOperands<'a> {
    results: Vec<RawOperand<'a>>,
    target: RawOperand<'a>,
    args: Vec<RawOperand<'a>>,
    /// Prototype or target list of an indirect call.
    prototype: Option<RawOperand<'a>>,
}

impl<'a> CallOperands<'a> {
    fn of(s: &Statement<'_, 'a>) -> Result<Self> {
        let is_list = |index: usize| {
            let operand = s.operands.list.get(index);
            operand.is_some_and(|operand| matches!(operand.raw, Raw::List { .. }))
        };
        let list = |index: usize| s.operand(index).map(|operand| s.elements(operand));
        let mut at = 0;
        let results = if is_list(at) {
            at += 1;
            list(0)?
        } else {
            Vec::new()
        };
        let target = s.operand(at)?;
        at += 1;
        let args = if is_list(at) {
            at += 1;
            list(at - 1)?
        } else {
            Vec::new()
        };
        let prototype = s.operands.list.get(at).copied();
        if s.operand_count() > at + 1 {
            return invalid("`call` has too many operands");
        }
        Ok(CallOperands { results, target, args, prototype })
    }
}

impl<'a> Lower<'_, 'a> {
    pub(super) fn call(&mut self, s: &mut Statement<'_, 'a>) -> Result<Op> {
        s.modifiers.take("uni");
        let operands = CallOperands::of(s)?;
        let (target, signature) = self.call_target(&operands)?;
        if operands.results.len() != signature.results.len() || operands.args.len() != signature.params.len() {
            return invalid("the call does not match the parameters of the function");
        }
        let mut results = Vec::with_capacity(operands.results.len());
        for (&operand, &shape) in operands.results.iter().zip(&signature.results) {
            results.push(self.call_result(operand, shape)?);
        }
        let mut args = Vec::with_capacity(operands.args.len());
        for (&operand, &shape) in operands.args.iter().zip(&signature.params) {
            args.push(self.call_arg(operand, shape)?);
        }
        let (results, args) = (self.builder.arg_list(results), self.builder.arg_list(args));
        Ok(Op::Call { target, results, args })
    }

    fn call_target(&mut self, operands: &CallOperands<'a>) -> Result<(CallTarget, Signature)> {
        match self.binding_of(operands.target)? {
            Binding::Function(id) => {
                let signature = self.tables.functions[id.0 as usize].signature.clone();
                if self.tables.functions[id.0 as usize].is_entry {
                    return invalid("an entry cannot be called");
                }
                if let Some(intrinsic) = self.tables.intrinsic(id) {
                    return Ok((CallTarget::Intrinsic(intrinsic), signature));
                }
                self.builder.function.callees.push(id);
                self.tables.function_symbol(id);
                Ok((CallTarget::Function(id), signature))
            }
            Binding::Reg(reg) => {
                let Some(prototype) = operands.prototype else {
                    return invalid("an indirect call needs a prototype");
                };
                let Binding::Signature(signature) = self.binding_of(prototype)? else {
                    return invalid("an indirect call needs a prototype");
                };
                self.builder.function.has_indirect_calls = true;
                let shape = self.tables.module.signatures[signature.0 as usize].clone();
                Ok((CallTarget::Indirect { address: Operand::Reg(reg), signature }, shape))
            }
            _ => invalid("only a function can be called"),
        }
    }

    /// Where a value of this shape lives in the caller.
    fn call_value(&mut self, operand: RawOperand<'a>, shape: ParamShape) -> Result<Option<CallArg>> {
        let binding = match operand.raw {
            Raw::Name(b"_") => None,
            Raw::Name(_) => self.binding_of(operand).ok(),
            _ => None,
        };
        let (value, held) = match binding {
            Some(Binding::ScalarParam(reg) | Binding::Reg(reg)) => {
                let size = self.class(reg).bits().div_ceil(8);
                (CallArg::Value(Operand::Reg(reg)), ParamShape::Scalar { size })
            }
            Some(Binding::Frame { offset, size, param: true, .. }) => {
                (CallArg::Frame { offset, size }, ParamShape::Bytes { size })
            }
            _ => return Ok(None),
        };
        if held != shape {
            return invalid("an argument or result does not match the parameter of the function");
        }
        Ok(Some(value))
    }

    fn call_arg(&mut self, operand: RawOperand<'a>, shape: ParamShape) -> Result<CallArg> {
        if let Some(value) = self.call_value(operand, shape)? {
            return Ok(value);
        }
        match shape {
            ParamShape::Scalar { size } => self.src_of(operand, Immediate::Bits(size * 8)).map(CallArg::Value),
            ParamShape::Bytes { .. } => invalid("this argument must be a .param variable"),
        }
    }

    fn call_result(&mut self, operand: RawOperand<'a>, shape: ParamShape) -> Result<CallArg> {
        if let Some(value) = self.call_value(operand, shape)? {
            return Ok(value);
        }
        match shape {
            ParamShape::Scalar { size } => {
                let reg = self.dst_of(operand, size * 8)?;
                Ok(CallArg::Value(Operand::Reg(reg)))
            }
            ParamShape::Bytes { .. } => invalid("this result must be a .param variable"),
        }
    }
}
