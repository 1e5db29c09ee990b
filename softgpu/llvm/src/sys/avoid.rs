//! Keeps away from what LLVM 19 gets wrong when it selects AVX-512 instructions.
//!
//! Masks: two of its rules undo each other without end. One makes `or` or `xor` of two vectors of bits, both integers'
//! bits, one of the integers; the other one, where vectors of the integers' bits are there for others too, one
//! of the vectors again (fixed in LLVM 20, issue 123333). So one of the integers is handed through an empty piece of
//! assembly, behind which nothing knows that it is the same.
//!
//! Bits chosen by a constant, `a & C | b & !C`: where they are written for some lanes only and one operand is in memory,
//! the instruction's truth table may be that of other operands (issue 157929). So the `or` gets a third
//! operand, a zero out of such assembly.

use super::Builder;
use llvm_sys::core::*;
use llvm_sys::prelude::*;
use llvm_sys::{LLVMInlineAsmDialect, LLVMOpcode, LLVMTypeKind};
use std::ptr;

impl Builder {
    /// Rewrites the functions where it has to be. After the optimisation, which would make new cases.
    pub(super) fn avoid_faults(&self) {
        // SAFETY: walks the module's own functions, blocks and instructions; what is inserted lies before the walk's
        // place.
        unsafe {
            let mut function = LLVMGetFirstFunction(self.module);
            while !function.is_null() {
                let mut block = LLVMGetFirstBasicBlock(function);
                while !block.is_null() {
                    let mut instruction = LLVMGetFirstInstruction(block);
                    while !instruction.is_null() {
                        self.part_mask(instruction);
                        self.part_choice(instruction);
                        instruction = LLVMGetNextInstruction(instruction);
                    }
                    block = LLVMGetNextBasicBlock(block);
                }
                function = LLVMGetNextFunction(function);
            }
        }
    }

    /// # Safety
    /// The instruction is one of this module.
    unsafe fn part_choice(&self, instruction: LLVMValueRef) {
        // SAFETY: as the caller promises; operands are asked for of instructions that have them.
        unsafe {
            let ty = LLVMTypeOf(instruction);
            let is_or = LLVMGetInstructionOpcode(instruction) == LLVMOpcode::LLVMOr;
            if !is_or || LLVMGetTypeKind(ty) != LLVMTypeKind::LLVMVectorTypeKind || is_mask(instruction) {
                return;
            }
            let [first, second] = [0, 1].map(|i| LLVMGetOperand(instruction, i));
            if !is_masked(first) || !is_masked(second) {
                return;
            }
            LLVMPositionBuilderBefore(self.builder, instruction);
            let zero = super::Value(self.hide(LLVMConstNull(LLVMGetElementType(ty))));
            let zeros = self.splat(zero, LLVMGetVectorSize(ty));
            LLVMSetOperand(instruction, 0, LLVMBuildOr(self.builder, first, zeros.0, super::NAME));
        }
    }

    /// # Safety
    /// The instruction is one of this module.
    unsafe fn part_mask(&self, instruction: LLVMValueRef) {
        // SAFETY: as the caller promises; operands are asked for of instructions that have them.
        unsafe {
            match LLVMGetInstructionOpcode(instruction) {
                LLVMOpcode::LLVMOr | LLVMOpcode::LLVMXor | LLVMOpcode::LLVMSelect if is_mask(instruction) => {
                    let first = LLVMGetOperand(instruction, 0);
                    if let Some(integer) = bits_of(first) {
                        LLVMPositionBuilderBefore(self.builder, instruction);
                        let integer = self.hide(integer);
                        let again = LLVMBuildBitCast(self.builder, integer, LLVMTypeOf(first), super::NAME);
                        LLVMSetOperand(instruction, 0, again);
                    }
                }
                LLVMOpcode::LLVMBitCast if is_mask(instruction) => {
                    let integer = LLVMGetOperand(instruction, 0);
                    let opcode = match LLVMIsAInstruction(integer).is_null() {
                        true => return,
                        false => LLVMGetInstructionOpcode(integer),
                    };
                    if matches!(opcode, LLVMOpcode::LLVMOr | LLVMOpcode::LLVMXor) {
                        LLVMPositionBuilderBefore(self.builder, integer);
                        LLVMSetOperand(integer, 0, self.hide(LLVMGetOperand(integer, 0)));
                    }
                }
                _ => {}
            }
        }
    }

    /// The same integer, of which nothing is known.
    ///
    /// # Safety
    /// The value is an integer of this function, and the builder is at a place where it is known.
    unsafe fn hide(&self, integer: LLVMValueRef) -> LLVMValueRef {
        let constraints = "=r,0";
        // SAFETY: as the caller promises; the assembly is empty, and its output is its input.
        unsafe {
            let mut ty = LLVMTypeOf(integer);
            let function = LLVMFunctionType(ty, &mut ty, 1, 0);
            let nothing = LLVMGetInlineAsm(
                function,
                ptr::null(),
                0,
                constraints.as_ptr().cast(),
                constraints.len(),
                0,
                0,
                LLVMInlineAsmDialect::LLVMInlineAsmDialectATT,
                0,
            );
            LLVMBuildCall2(self.builder, function, nothing, [integer].as_mut_ptr(), 1, super::NAME)
        }
    }
}

/// Whether a value is a vector of bits.
///
/// # Safety
/// The value lives.
unsafe fn is_mask(value: LLVMValueRef) -> bool {
    // SAFETY: as the caller promises; only vectors are asked for their elements.
    unsafe {
        let ty = LLVMTypeOf(value);
        LLVMGetTypeKind(ty) == LLVMTypeKind::LLVMVectorTypeKind && is_bit(LLVMGetElementType(ty))
    }
}

/// # Safety
/// The type lives.
unsafe fn is_bit(ty: LLVMTypeRef) -> bool {
    // SAFETY: as the caller promises; only integers are asked for their width.
    unsafe { LLVMGetTypeKind(ty) == LLVMTypeKind::LLVMIntegerTypeKind && LLVMGetIntTypeWidth(ty) == 1 }
}

/// The integer whose bits a vector of them is.
///
/// # Safety
/// The value lives.
unsafe fn bits_of(mask: LLVMValueRef) -> Option<LLVMValueRef> {
    // SAFETY: as the caller promises; only instructions are asked for operands.
    unsafe {
        let is_cast = !LLVMIsAInstruction(mask).is_null() && LLVMGetInstructionOpcode(mask) == LLVMOpcode::LLVMBitCast;
        let integer = is_cast.then(|| LLVMGetOperand(mask, 0))?;
        (LLVMGetTypeKind(LLVMTypeOf(integer)) == LLVMTypeKind::LLVMIntegerTypeKind).then_some(integer)
    }
}

/// Whether a value is what some constant bits of another one are.
///
/// # Safety
/// The value lives.
unsafe fn is_masked(value: LLVMValueRef) -> bool {
    // SAFETY: as the caller promises; only instructions are asked for operands.
    unsafe {
        let mut value = value;
        while !LLVMIsAInstruction(value).is_null() && LLVMGetInstructionOpcode(value) == LLVMOpcode::LLVMBitCast {
            value = LLVMGetOperand(value, 0);
        }
        let is_and = !LLVMIsAInstruction(value).is_null() && LLVMGetInstructionOpcode(value) == LLVMOpcode::LLVMAnd;
        is_and && LLVMIsConstant(LLVMGetOperand(value, 1)) != 0
    }
}
