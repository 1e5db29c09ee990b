//! Consistency of a module: every id that an engine follows is in range, and
//! calls match what they call.

use super::*;

/// Checks a module.
///
/// # Errors
/// A description of the first inconsistency, naming the function.
pub fn verify(module: &Module) -> Result<(), String> {
    for symbol in &module.symbols {
        let known = match symbol.target {
            SymbolTarget::Function(id) => (id.0 as usize) < module.functions.len(),
            SymbolTarget::Variable(id) => (id.0 as usize) < module.variables.len(),
            SymbolTarget::Intrinsic(_) | SymbolTarget::Undefined => true,
        };
        check(known, || format!("symbol `{}` has no target", symbol.name))?;
    }
    for variable in &module.variables {
        verify_variable(module, variable).map_err(|error| format!("variable `{}`: {error}", variable.name))?;
    }
    for function in &module.functions {
        Verifier { module, function, error: None }
            .function()
            .map_err(|error| format!("function `{}`: {error}", function.name))?;
    }
    Ok(())
}

fn check(holds: bool, error: impl FnOnce() -> String) -> Result<(), String> {
    if holds {
        Ok(())
    } else {
        Err(error())
    }
}

fn verify_variable(module: &Module, variable: &Variable) -> Result<(), String> {
    check(variable.align.is_power_of_two(), || "alignment is not a power of two".into())?;
    check(variable.init.len() as u64 <= variable.size, || "initialiser is too long".into())?;
    for relocation in &variable.relocations {
        let end = relocation.offset.saturating_add(relocation.size.into());
        check(end <= variable.init.len() as u64, || "relocation outside of the initialiser".into())?;
        check((relocation.symbol.0 as usize) < module.symbols.len(), || "relocation to no symbol".into())?;
    }
    Ok(())
}

struct Verifier<'m> {
    module: &'m Module,
    function: &'m Function,
    /// First error met by a visitor method.
    error: Option<String>,
}

impl Verifier<'_> {
    fn function(mut self) -> Result<(), String> {
        let function = self.function;
        check(!function.blocks.is_empty(), || "no block".into())?;
        check(function.positions.len() == function.insts.len(), || "positions do not match instructions".into())?;
        self.storages()?;
        let mut next = 0;
        for (index, block) in function.blocks.iter().enumerate() {
            let contiguous = block.first == next && block.end >= block.first;
            check(contiguous && block.end as usize <= function.insts.len(), || format!("b{index} has a bad range"))?;
            next = block.end;
            for inst in function.block_insts(block) {
                self.inst(*inst).map_err(|error| format!("{error} in {inst:?}"))?;
            }
            self.terminator(block).map_err(|error| format!("{error} at the end of b{index}"))?;
        }
        check(next as usize == function.insts.len(), || "instructions outside of blocks".into())
    }

    fn storages(&self) -> Result<(), String> {
        for param in self.function.params.iter().chain(&self.function.results) {
            let in_range = match param.storage {
                ParamStorage::Block { offset } => offset + param.size <= self.function.param_block_size,
                ParamStorage::Frame { offset } => offset + param.size <= self.function.frame_size,
                ParamStorage::Reg(reg) => (reg.0 as usize) < self.function.regs.len(),
            };
            check(in_range, || format!("parameter `{}` is out of range", param.name))?;
        }
        Ok(())
    }

    fn inst(&mut self, mut inst: Inst) -> Result<(), String> {
        inst.visit(self);
        if let Op::Call { target, results, args } = inst.op {
            self.call(target, results, args)?;
        }
        self.error.take().map_or(Ok(()), Err)
    }

    fn call(&self, target: CallTarget, results: ArgList, args: ArgList) -> Result<(), String> {
        let (result_shapes, param_shapes) = match target {
            CallTarget::Intrinsic(_) => return Ok(()),
            CallTarget::Function(id) => {
                let callee = self.module.functions.get(id.0 as usize).ok_or("call of no function")?;
                if callee.unsupported.is_some() {
                    return Ok(());
                }
                (shapes(&callee.results), shapes(&callee.params))
            }
            CallTarget::Indirect { signature, .. } => {
                let signature = self.module.signatures.get(signature.0 as usize).ok_or("call without prototype")?;
                (signature.results.clone(), signature.params.clone())
            }
        };
        let matches = |args: &[CallArg], shapes: &[ParamShape]| {
            let pairs = args.iter().zip(shapes);
            args.len() == shapes.len() && pairs.clone().all(|(arg, shape)| fits(arg, *shape))
        };
        let results = self.function.arg_list(results);
        // A direct call may ask for a result of a function that has none.
        let undefined = matches!(target, CallTarget::Function(_)) && result_shapes.is_empty();
        let agree =
            (undefined || matches(results, &result_shapes)) && matches(self.function.arg_list(args), &param_shapes);
        check(agree, || "arguments do not match the callee".into())
    }

    fn terminator(&mut self, block: &Block) -> Result<(), String> {
        let blocks = self.function.blocks.len();
        let mut in_range = block.ipdom.is_none_or(|ipdom| (ipdom.0 as usize) < blocks);
        for_each_successor(&block.terminator, &self.function.branch_tables, |target| {
            in_range &= (target.0 as usize) < blocks;
        });
        check(in_range, || "branch to no block".into())?;
        match block.terminator {
            Terminator::CondBranch { mut cond, .. } => self.read_reg(&mut cond.reg),
            Terminator::BranchIndexed { mut index, table } => {
                check((table as usize) < self.function.branch_tables.len(), || "no jump table".into())?;
                self.read(&mut index);
            }
            _ => {}
        }
        self.error.take().map_or(Ok(()), Err)
    }

    fn fail(&mut self, error: String) {
        self.error.get_or_insert(error);
    }

    /// The items of a pool that a list names.
    fn pooled<T: Copy>(&mut self, pool: &[T], start: u32, len: u32) -> Vec<T> {
        let range = start as usize..start as usize + len as usize;
        match pool.get(range) {
            Some(items) => items.to_vec(),
            None => {
                self.fail("list out of range".into());
                Vec::new()
            }
        }
    }
}

fn shapes(params: &[Param]) -> Vec<ParamShape> {
    let shape = |param: &Param| match param.storage {
        ParamStorage::Reg(_) => ParamShape::Scalar { size: param.size },
        _ => ParamShape::Bytes { size: param.size },
    };
    params.iter().map(shape).collect()
}

/// Whether an argument has the kind and size of the parameter.
fn fits(arg: &CallArg, shape: ParamShape) -> bool {
    match (*arg, shape) {
        (CallArg::Value(_), ParamShape::Scalar { .. }) => true,
        (CallArg::Frame { size, .. }, ParamShape::Bytes { size: wanted }) => size == wanted,
        _ => false,
    }
}

impl Visitor for Verifier<'_> {
    fn def(&mut self, reg: &mut Reg) {
        if reg.0 as usize >= self.function.regs.len() {
            self.fail(format!("{reg:?} does not exist"));
        }
    }

    fn read(&mut self, operand: &mut Operand) {
        match *operand {
            Operand::Reg(mut reg) => self.def(&mut reg),
            Operand::Symbol { id, .. } if id.0 as usize >= self.module.symbols.len() => {
                self.fail("symbol does not exist".into());
            }
            Operand::Frame(offset) if offset > self.function.frame_size => {
                self.fail("address outside of the frame".into());
            }
            _ => {}
        }
    }

    fn read_reg(&mut self, reg: &mut Reg) {
        if self.function.regs.get(reg.0 as usize) != Some(&RegClass::Pred) {
            self.fail(format!("{reg:?} is not a predicate"));
        }
    }

    fn def_list(&mut self, list: RegList) {
        let regs = self.pooled(&self.function.reg_pool, list.start, list.len);
        regs.into_iter().for_each(|mut reg| self.def(&mut reg));
    }

    fn read_list(&mut self, list: OperandList) {
        let operands = self.pooled(&self.function.operand_pool, list.start, list.len);
        operands.into_iter().for_each(|mut operand| self.read(&mut operand));
    }

    fn arg_list(&mut self, list: ArgList, is_result: bool) {
        for arg in self.pooled(&self.function.arg_pool, list.start, list.len) {
            match arg {
                CallArg::Value(mut operand @ Operand::Reg(_)) => self.read(&mut operand),
                CallArg::Value(_) if is_result => self.fail("result of a call is not a register".into()),
                CallArg::Value(mut operand) => self.read(&mut operand),
                CallArg::Frame { offset, size } => {
                    if u64::from(offset) + u64::from(size) > self.function.frame_size.into() {
                        self.fail("argument outside of the frame".into());
                    }
                }
            }
        }
    }
}
