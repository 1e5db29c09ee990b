//! The unsafe part: LLVM's C API behind types that cannot be misused from this crate.
//!
//! Unlike typed bindings, a [`Value`] is a scalar or a vector: the same code builds both.

mod avoid;

use llvm_sys::analysis::{LLVMVerifierFailureAction, LLVMVerifyModule};
use llvm_sys::core::*;
use llvm_sys::error::{LLVMDisposeErrorMessage, LLVMGetErrorMessage};
use llvm_sys::execution_engine::*;
use llvm_sys::prelude::*;
use llvm_sys::target::{LLVM_InitializeNativeAsmPrinter, LLVM_InitializeNativeTarget};
use llvm_sys::target_machine::*;
use llvm_sys::transforms::pass_builder::*;
use llvm_sys::LLVMAttributeFunctionIndex;
pub use llvm_sys::{LLVMAtomicRMWBinOp as Rmw, LLVMIntPredicate as IntPredicate, LLVMRealPredicate as RealPredicate};
use std::ffi::{CStr, CString};
use std::mem::MaybeUninit;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::ptr;
use std::sync::OnceLock;
use vgpu_engine::engine::Run;

/// A type of values.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Type(LLVMTypeRef);

/// A scalar or vector.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Value(LLVMValueRef);

/// A basic block.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Label(LLVMBasicBlockRef);

/// The CPU that code is made for.
pub struct Host {
    triple: CString,
    cpu: CString,
    features: CString,
}

// What LLVM gives is copied; the struct holds plain strings.
fn message(text: *mut std::ffi::c_char) -> CString {
    // SAFETY: LLVM gives a string that it has allocated and that ends with NUL.
    let copy = unsafe { CStr::from_ptr(text) }.to_owned();
    // SAFETY: the string is LLVM's own and not used after this.
    unsafe { LLVMDisposeMessage(text) };
    copy
}

/// What LLVM leaves out, since it takes long and compiled kernels are no faster for it: computing in mask registers what
/// was meant for other ones, and looking far for where values are best kept in registers, in large kernels. The first is
/// the name of the program that such options are usually given to.
const OPTIONS: [&CStr; 3] = [c"vgpu", c"-disable-x86-domain-reassignment", c"-grow-region-complexity-budget=100"];

/// Initialises LLVM, once, and tells about the CPU.
pub fn host() -> &'static Host {
    static HOST: OnceLock<Host> = OnceLock::new();
    HOST.get_or_init(|| {
        // SAFETY: called once; these have no preconditions.
        unsafe {
            LLVM_InitializeNativeTarget();
            LLVM_InitializeNativeAsmPrinter();
            LLVMLinkInMCJIT();
            let options = OPTIONS.map(CStr::as_ptr);
            llvm_sys::support::LLVMParseCommandLineOptions(options.len() as i32, options.as_ptr(), ptr::null());
            Host {
                triple: message(LLVMGetDefaultTargetTriple()),
                cpu: message(LLVMGetHostCPUName()),
                features: message(LLVMGetHostCPUFeatures()),
            }
        }
    })
}

impl Host {
    /// Whether the CPU has a feature that LLVM knows by this name.
    pub fn has(&self, feature: &str) -> bool {
        let enabled = |part: &str| part.strip_prefix('+') == Some(feature);
        self.features.to_str().is_ok_and(|features| features.split(',').any(enabled))
    }
}

/// What makes code for the CPU; to be disposed of.
fn machine() -> Result<LLVMTargetMachineRef, String> {
    let host = host();
    let (mut target, mut error) = (ptr::null_mut(), ptr::null_mut());
    // SAFETY: the target is the host's, which has been initialised.
    unsafe {
        if LLVMGetTargetFromTriple(host.triple.as_ptr(), &mut target, &mut error) != 0 {
            return Err(message(error).to_string_lossy().into_owned());
        }
        Ok(LLVMCreateTargetMachine(
            target,
            host.triple.as_ptr(),
            // Functions say what CPU they are for.
            c"".as_ptr(),
            c"".as_ptr(),
            LLVMCodeGenOptLevel::LLVMCodeGenLevelDefault,
            LLVMRelocMode::LLVMRelocPIC,
            LLVMCodeModel::LLVMCodeModelJITDefault,
        ))
    }
}

/// Operations of two values.
pub type Binary =
    unsafe extern "C" fn(LLVMBuilderRef, LLVMValueRef, LLVMValueRef, *const std::ffi::c_char) -> LLVMValueRef;
/// Operations that change a value's type.
pub type Cast =
    unsafe extern "C" fn(LLVMBuilderRef, LLVMValueRef, LLVMTypeRef, *const std::ffi::c_char) -> LLVMValueRef;

macro_rules! binary_ops {
    ($($name:ident $function:ident)*) => {$(
        pub const $name: Binary = $function;
    )*};
}

/// The operations of [`Builder::binary`].
pub mod op {
    use super::{Binary, Cast};
    use llvm_sys::core::*;
    binary_ops! {
        ADD LLVMBuildAdd SUB LLVMBuildSub MUL LLVMBuildMul UDIV LLVMBuildUDiv SDIV LLVMBuildSDiv
        UREM LLVMBuildURem SREM LLVMBuildSRem AND LLVMBuildAnd OR LLVMBuildOr XOR LLVMBuildXor
        SHL LLVMBuildShl LSHR LLVMBuildLShr ASHR LLVMBuildAShr
        FADD LLVMBuildFAdd FSUB LLVMBuildFSub FMUL LLVMBuildFMul FDIV LLVMBuildFDiv
    }
    pub const TRUNC: Cast = LLVMBuildTrunc;
    pub const ZEXT: Cast = LLVMBuildZExt;
    pub const SEXT: Cast = LLVMBuildSExt;
    pub const BITCAST: Cast = LLVMBuildBitCast;
    pub const FPTRUNC: Cast = LLVMBuildFPTrunc;
    pub const FPEXT: Cast = LLVMBuildFPExt;
    pub const UITOFP: Cast = LLVMBuildUIToFP;
    pub const SITOFP: Cast = LLVMBuildSIToFP;
    pub const INTTOPTR: Cast = LLVMBuildIntToPtr;
    pub const PTRTOINT: Cast = LLVMBuildPtrToInt;
}

const NAME: *const std::ffi::c_char = c"".as_ptr();

/// A module with one function, under construction.
pub struct Builder {
    context: LLVMContextRef,
    module: LLVMModuleRef,
    builder: LLVMBuilderRef,
    function: LLVMValueRef,
    /// The block with the function's variables.
    allocas: LLVMBuilderRef,
    /// Whether module and context are this value's own.
    is_owner: bool,
}

impl Drop for Builder {
    fn drop(&mut self) {
        // SAFETY: all are this value's own; the module goes before its context.
        unsafe {
            LLVMDisposeBuilder(self.builder);
            LLVMDisposeBuilder(self.allocas);
            if self.is_owner && !self.module.is_null() {
                LLVMDisposeModule(self.module);
                LLVMContextDispose(self.context);
            }
        }
    }
}

/// Compiled code.
pub struct Code {
    engine: LLVMExecutionEngineRef,
    context: LLVMContextRef,
    function: Run,
}

// SAFETY: the code is immutable, and the rest is used by `drop` only.
unsafe impl Send for Code {}
// SAFETY: as above.
unsafe impl Sync for Code {}

impl Code {
    /// The compiled function.
    pub fn function(&self) -> Run {
        self.function
    }
}

impl Drop for Code {
    fn drop(&mut self) {
        // SAFETY: both are this value's own; the engine, which owns the module, goes before the context.
        unsafe {
            LLVMDisposeExecutionEngine(self.engine);
            LLVMContextDispose(self.context);
        }
    }
}

macro_rules! build {
    ($self:ident, $function:ident $(, $arg:expr)*) => {
        // SAFETY: values, types and labels are of this builder's function; the builder has a place.
        Value(unsafe { $function($self.builder, $($arg,)* NAME) })
    };
}

impl Builder {
    /// A module with a function `i32 (ptr)`, at whose first block the builder is.
    pub fn new() -> Builder {
        host();
        // SAFETY: everything is made in this context, which lives as long as the builder.
        unsafe {
            let context = LLVMContextCreate();
            let module = LLVMModuleCreateWithNameInContext(c"kernel".as_ptr(), context);
            let pointer = LLVMPointerTypeInContext(context, 0);
            let function_type = LLVMFunctionType(LLVMInt32TypeInContext(context), [pointer].as_mut_ptr(), 1, 0);
            let function = LLVMAddFunction(module, c"run".as_ptr(), function_type);
            let name = "noalias";
            let kind = LLVMGetEnumAttributeKindForName(name.as_ptr().cast(), name.len());
            LLVMAddAttributeAtIndex(function, 1, LLVMCreateEnumAttribute(context, kind, 0));
            Builder::of(context, module, function, true)
        }
    }

    /// Builds a function of a module.
    ///
    /// # Safety
    /// The module is one of the context, and the function one of the module. What is not the owner of these does not
    /// outlive it.
    unsafe fn of(context: LLVMContextRef, module: LLVMModuleRef, function: LLVMValueRef, is_owner: bool) -> Builder {
        // SAFETY: as the caller promises.
        unsafe {
            let allocas = LLVMCreateBuilderInContext(context);
            let builder = LLVMCreateBuilderInContext(context);
            LLVMPositionBuilderAtEnd(allocas, LLVMAppendBasicBlockInContext(context, function, c"variables".as_ptr()));
            let mut this = Builder { context, module, builder, function, allocas, is_owner };
            this.attribute(c"target-cpu", &host().cpu);
            this.attribute(c"target-features", &host().features);
            this.attribute(c"prefer-vector-width", c"512");
            this.attribute(c"min-legal-vector-width", c"512");
            this
        }
    }

    /// A function of this module that gives nothing; `body` generates it from its arguments.
    pub fn helper(&self, arguments: &[Type], body: impl FnOnce(&Builder, &[Value])) -> Value {
        let mut types: Vec<LLVMTypeRef> = arguments.iter().map(|ty| ty.0).collect();
        // SAFETY: context and module are this builder's, which outlives that of the helper; the function has as many
        // arguments as there are types.
        unsafe {
            let nothing = LLVMVoidTypeInContext(self.context);
            let ty = LLVMFunctionType(nothing, types.as_mut_ptr(), types.len() as u32, 0);
            let function = LLVMAddFunction(self.module, c"helper".as_ptr(), ty);
            LLVMSetLinkage(function, llvm_sys::LLVMLinkage::LLVMInternalLinkage);
            let inner = Builder::of(self.context, self.module, function, false);
            let first = inner.label();
            inner.place(first);
            let arguments: Vec<Value> = (0..types.len() as u32).map(|i| Value(LLVMGetParam(function, i))).collect();
            body(&inner, &arguments);
            LLVMBuildRetVoid(inner.builder);
            LLVMBuildBr(inner.allocas, first.0);
            Value(function)
        }
    }

    fn attribute(&mut self, key: &CStr, value: &CStr) {
        let (key, value) = (key.to_bytes(), value.to_bytes());
        // SAFETY: the lengths are those of the strings, which are copied.
        unsafe {
            let attribute = LLVMCreateStringAttribute(
                self.context,
                key.as_ptr().cast(),
                key.len() as u32,
                value.as_ptr().cast(),
                value.len() as u32,
            );
            LLVMAddAttributeAtIndex(self.function, LLVMAttributeFunctionIndex, attribute);
        }
    }

    /// Argument of the function.
    pub fn argument(&self) -> Value {
        // SAFETY: the function has one argument.
        Value(unsafe { LLVMGetParam(self.function, 0) })
    }

    /// A new block.
    pub fn label(&self) -> Label {
        // SAFETY: context and function are this builder's.
        Label(unsafe { LLVMAppendBasicBlockInContext(self.context, self.function, NAME) })
    }

    /// Goes on at the end of a block.
    pub fn place(&self, label: Label) {
        // SAFETY: the label is one of this function.
        unsafe { LLVMPositionBuilderAtEnd(self.builder, label.0) }
    }

    /// Integers of a width; `i1` for conditions.
    pub fn int(&self, bits: u32) -> Type {
        // SAFETY: the context lives.
        Type(unsafe { LLVMIntTypeInContext(self.context, bits) })
    }

    /// `f16`, `f32` or `f64`.
    pub fn float(&self, bits: u32) -> Type {
        // SAFETY: the context lives.
        Type(unsafe {
            match bits {
                16 => LLVMHalfTypeInContext(self.context),
                32 => LLVMFloatTypeInContext(self.context),
                _ => LLVMDoubleTypeInContext(self.context),
            }
        })
    }

    /// Host addresses.
    pub fn pointer(&self) -> Type {
        // SAFETY: the context lives.
        Type(unsafe { LLVMPointerTypeInContext(self.context, 0) })
    }

    /// A vector type.
    pub fn vector(&self, element: Type, count: u32) -> Type {
        // SAFETY: the element type is a scalar of this context.
        Type(unsafe { LLVMVectorType(element.0, count) })
    }

    /// Type of a value.
    pub fn type_of(&self, value: Value) -> Type {
        // SAFETY: the value lives.
        Type(unsafe { LLVMTypeOf(value.0) })
    }

    /// Number of elements of a vector; `None` for scalars.
    pub fn lanes(&self, ty: Type) -> Option<u32> {
        // SAFETY: the type lives; its size is asked for only if it is a vector.
        unsafe {
            let is_vector = LLVMGetTypeKind(ty.0) == llvm_sys::LLVMTypeKind::LLVMVectorTypeKind;
            is_vector.then(|| LLVMGetVectorSize(ty.0))
        }
    }

    /// `element`, or a vector of it that is as long as `like`.
    pub fn shaped(&self, element: Type, like: Value) -> Type {
        self.lanes(self.type_of(like)).map_or(element, |count| self.vector(element, count))
    }

    /// An integer constant, for all elements of a vector type.
    pub fn constant(&self, ty: Type, value: u64) -> Value {
        let Some(count) = self.lanes(ty) else {
            // SAFETY: the type is an integer type.
            return Value(unsafe { LLVMConstInt(ty.0, value, 0) });
        };
        // SAFETY: the element type is an integer type; the vector has `count` elements.
        unsafe {
            let element = LLVMConstInt(LLVMGetElementType(ty.0), value, 0);
            let mut elements = vec![element; count as usize];
            Value(LLVMConstVector(elements.as_mut_ptr(), count))
        }
    }

    /// A vector of integer constants.
    pub fn constants(&self, element: Type, values: impl Iterator<Item = u64>) -> Value {
        // SAFETY: the type is an integer type; the length is that of the list.
        unsafe {
            let mut elements: Vec<LLVMValueRef> = values.map(|v| LLVMConstInt(element.0, v, 0)).collect();
            Value(LLVMConstVector(elements.as_mut_ptr(), elements.len() as u32))
        }
    }

    /// Zero of any type.
    pub fn zero(&self, ty: Type) -> Value {
        // SAFETY: the type lives.
        Value(unsafe { LLVMConstNull(ty.0) })
    }

    /// A variable that is written before it is read.
    pub fn variable(&self, ty: Type) -> Value {
        // SAFETY: the builder is at the end of the function's first block.
        Value(unsafe { LLVMBuildAlloca(self.allocas, ty.0, NAME) })
    }

    /// Memory of the function, aligned to 64 bytes, with anything in it.
    pub fn room(&self, bytes: u32) -> Value {
        let ty = self.vector(self.int(8), bytes);
        // SAFETY: the builder is at the end of the function's first block; the value is an `alloca`.
        unsafe {
            let place = LLVMBuildAlloca(self.allocas, ty.0, NAME);
            LLVMSetAlignment(place, 64);
            Value(place)
        }
    }

    pub fn binary(&self, op: Binary, a: Value, b: Value) -> Value {
        build!(self, op, a.0, b.0)
    }

    pub fn cast(&self, op: Cast, a: Value, element: Type) -> Value {
        let ty = self.shaped(element, a);
        build!(self, op, a.0, ty.0)
    }

    /// The same bits as another type.
    pub fn bits(&self, a: Value, ty: Type) -> Value {
        build!(self, LLVMBuildBitCast, a.0, ty.0)
    }

    pub fn icmp(&self, predicate: IntPredicate, a: Value, b: Value) -> Value {
        build!(self, LLVMBuildICmp, predicate, a.0, b.0)
    }

    pub fn fcmp(&self, predicate: RealPredicate, a: Value, b: Value) -> Value {
        build!(self, LLVMBuildFCmp, predicate, a.0, b.0)
    }

    pub fn select(&self, condition: Value, a: Value, b: Value) -> Value {
        build!(self, LLVMBuildSelect, condition.0, a.0, b.0)
    }

    /// Element of a vector, by a constant or computed index within it.
    pub fn extract(&self, vector: Value, index: Value) -> Value {
        build!(self, LLVMBuildExtractElement, vector.0, index.0)
    }

    /// A vector of equal elements.
    pub fn splat(&self, scalar: Value, count: u32) -> Value {
        let ty = self.vector(self.type_of(scalar), count);
        // SAFETY: the types agree; the mask has `count` elements.
        unsafe {
            let undefined = LLVMGetPoison(ty.0);
            let index = LLVMConstInt(LLVMInt32TypeInContext(self.context), 0, 0);
            let one = LLVMBuildInsertElement(self.builder, undefined, scalar.0, index, NAME);
            let mask = LLVMConstNull(LLVMVectorType(LLVMInt32TypeInContext(self.context), count));
            Value(LLVMBuildShuffleVector(self.builder, one, undefined, mask, NAME))
        }
    }

    /// Elements of two vectors, chosen by constant indices.
    pub fn shuffle(&self, a: Value, b: Value, indices: &[u32]) -> Value {
        let mask = self.constants(self.int(32), indices.iter().map(|i| u64::from(*i)));
        build!(self, LLVMBuildShuffleVector, a.0, b.0, mask.0)
    }

    /// The address `bytes` behind another one; pointers give vectors of pointers for vectors of offsets.
    pub fn offset(&self, pointer: Value, bytes: Value) -> Value {
        let mut indices = [bytes.0];
        let byte = self.int(8);
        build!(self, LLVMBuildGEP2, byte.0, pointer.0, indices.as_mut_ptr(), 1)
    }

    /// As [`Builder::offset`], for a constant.
    pub fn field(&self, pointer: Value, bytes: usize) -> Value {
        self.offset(pointer, self.constant(self.int(64), bytes as u64))
    }

    pub fn load(&self, ty: Type, pointer: Value, align: u32) -> Value {
        let value = build!(self, LLVMBuildLoad2, ty.0, pointer.0);
        // SAFETY: the value is a load.
        unsafe { LLVMSetAlignment(value.0, align) };
        value
    }

    pub fn store(&self, value: Value, pointer: Value, align: u32) {
        // SAFETY: value and pointer are of this function.
        unsafe { LLVMSetAlignment(LLVMBuildStore(self.builder, value.0, pointer.0), align) };
    }

    /// Reads a variable.
    pub fn get(&self, ty: Type, variable: Value) -> Value {
        build!(self, LLVMBuildLoad2, ty.0, variable.0)
    }

    /// Writes a variable.
    pub fn set(&self, variable: Value, value: Value) {
        // SAFETY: as in `store`.
        unsafe { LLVMBuildStore(self.builder, value.0, variable.0) };
    }

    /// Calls an intrinsic whose name is completed by the types `overloads`.
    pub fn intrinsic(&self, name: &str, overloads: &[Type], args: &[Value]) -> Value {
        let mut types: Vec<LLVMTypeRef> = overloads.iter().map(|t| t.0).collect();
        let mut args: Vec<LLVMValueRef> = args.iter().map(|a| a.0).collect();
        // SAFETY: the name is one of LLVM's with as many overloads; the verifier looks at the arguments.
        unsafe {
            let id = LLVMLookupIntrinsicID(name.as_ptr().cast(), name.len());
            let function = LLVMGetIntrinsicDeclaration(self.module, id, types.as_mut_ptr(), types.len());
            let ty = LLVMIntrinsicGetType(self.context, id, types.as_mut_ptr(), types.len());
            Value(LLVMBuildCall2(self.builder, ty, function, args.as_mut_ptr(), args.len() as u32, NAME))
        }
    }

    /// Calls a function by its address.
    pub fn call(&self, function: Value, result: Option<Type>, args: &[Value]) -> Value {
        let mut types: Vec<LLVMTypeRef> = args.iter().map(|a| self.type_of(*a).0).collect();
        let mut args: Vec<LLVMValueRef> = args.iter().map(|a| a.0).collect();
        let count = args.len() as u32;
        // SAFETY: the function's type is made from the arguments.
        unsafe {
            let result = result.map_or_else(|| LLVMVoidTypeInContext(self.context), |t| t.0);
            let ty = LLVMFunctionType(result, types.as_mut_ptr(), count, 0);
            Value(LLVMBuildCall2(self.builder, ty, function.0, args.as_mut_ptr(), count, NAME))
        }
    }

    pub fn fence(&self) {
        let ordering = llvm_sys::LLVMAtomicOrdering::LLVMAtomicOrderingSequentiallyConsistent;
        // SAFETY: the builder has a place.
        unsafe { LLVMBuildFence(self.builder, ordering, 0, NAME) };
    }

    /// An atomic operation on host memory, sequentially consistent; gives the old value.
    pub fn update(&self, rmw: Rmw, pointer: Value, value: Value) -> Value {
        let ordering = llvm_sys::LLVMAtomicOrdering::LLVMAtomicOrderingSequentiallyConsistent;
        // SAFETY: pointer and value are of this function; the value is an integer, or a float for `FAdd`.
        Value(unsafe { LLVMBuildAtomicRMW(self.builder, rmw, pointer.0, value.0, ordering, 0) })
    }

    /// Writes `new` where `expected` is; gives the old value.
    pub fn compare_exchange(&self, pointer: Value, expected: Value, new: Value) -> Value {
        let ordering = llvm_sys::LLVMAtomicOrdering::LLVMAtomicOrderingSequentiallyConsistent;
        // SAFETY: as in `update`; the first part of the result is the old value.
        Value(unsafe {
            let (pointer, expected, new) = (pointer.0, expected.0, new.0);
            let pair = LLVMBuildAtomicCmpXchg(self.builder, pointer, expected, new, ordering, ordering, 0);
            LLVMBuildExtractValue(self.builder, pair, 0, NAME)
        })
    }

    pub fn jump(&self, target: Label) {
        // SAFETY: the label is one of this function.
        unsafe { LLVMBuildBr(self.builder, target.0) };
    }

    pub fn branch(&self, condition: Value, taken: Label, other: Label) {
        // SAFETY: labels and condition are of this function.
        unsafe { LLVMBuildCondBr(self.builder, condition.0, taken.0, other.0) };
    }

    /// As [`Builder::branch`], where the first target is hardly ever taken.
    pub fn branch_rarely(&self, condition: Value, taken: Label, other: Label) {
        // SAFETY: labels and condition are of this function; the metadata is of the form LLVM documents.
        unsafe {
            let branch = LLVMBuildCondBr(self.builder, condition.0, taken.0, other.0);
            let int = LLVMInt32TypeInContext(self.context);
            let weight = |n| LLVMValueAsMetadata(LLVMConstInt(int, n, 0));
            let name = "branch_weights";
            let name = LLVMMDStringInContext2(self.context, name.as_ptr().cast(), name.len());
            let mut nodes = [name, weight(1), weight(4000)];
            let node = LLVMMDNodeInContext2(self.context, nodes.as_mut_ptr(), nodes.len());
            let kind = LLVMGetMDKindIDInContext(self.context, c"prof".as_ptr(), 4);
            LLVMSetMetadata(branch, kind, LLVMMetadataAsValue(self.context, node));
        }
    }

    /// Jumps by value to the target beside it, else to `other`.
    pub fn switch(&self, value: Value, targets: &[(u32, Label)], other: Label) {
        // SAFETY: as in `branch`; cases are constants of the value's type.
        unsafe {
            let switch = LLVMBuildSwitch(self.builder, value.0, other.0, targets.len() as u32);
            for (case, target) in targets {
                LLVMAddCase(switch, LLVMConstInt(LLVMTypeOf(value.0), (*case).into(), 0), target.0);
            }
        }
    }

    pub fn ret(&self, value: Value) {
        // SAFETY: the function returns `i32`.
        unsafe { LLVMBuildRet(self.builder, value.0) };
    }

    /// Joins the variables to the first block, optimises and compiles, at one of LLVM's levels. With `listing`, a path without an extension,
    /// writes what comes of it there.
    pub fn finish(
        mut self,
        first: Label,
        (passes, level): (&CStr, u32),
        listing: Option<&Path>,
    ) -> Result<Code, String> {
        // SAFETY: the first block has no terminator yet.
        unsafe { LLVMBuildBr(self.allocas, first.0) };
        let mut error = ptr::null_mut();
        // SAFETY: the module is complete.
        let failed = unsafe {
            LLVMVerifyModule(self.module, LLVMVerifierFailureAction::LLVMReturnStatusAction, &mut error) != 0
        };
        let text = message(error);
        if failed {
            return Err(format!("invalid code: {}", text.to_string_lossy()));
        }
        self.optimise(passes)?;
        self.avoid_faults();
        if let Some(path) = listing {
            self.list(path);
        }
        let mut options = MaybeUninit::<LLVMMCJITCompilerOptions>::uninit();
        let size = size_of::<LLVMMCJITCompilerOptions>();
        let mut engine = ptr::null_mut();
        let module = std::mem::replace(&mut self.module, ptr::null_mut());
        // SAFETY: the options are initialised by LLVM; the engine takes the module over, also if it fails.
        unsafe {
            LLVMInitializeMCJITCompilerOptions(options.as_mut_ptr(), size);
            (*options.as_mut_ptr()).OptLevel = level;
            let failed = LLVMCreateMCJITCompilerForModule(&mut engine, module, options.as_mut_ptr(), size, &mut error);
            if failed != 0 {
                return Err(message(error).to_string_lossy().into_owned());
            }
            let address = LLVMGetFunctionAddress(engine, c"run".as_ptr());
            if address == 0 {
                LLVMDisposeExecutionEngine(engine);
                LLVMContextDispose(self.context);
                return Err("LLVM has no memory for the code".into());
            }
            let function = std::mem::transmute::<usize, Run>(address as usize);
            Ok(Code { engine, context: self.context, function })
        }
    }

    /// Writes LLVM IR and assembly. A listing that cannot be written is no reason not to run.
    fn list(&self, path: &Path) {
        let file = |extension: &[u8]| CString::new([path.as_os_str().as_bytes(), extension].concat()).ok();
        let (Some(ir), Some(assembly), Ok(machine)) = (file(b".ll"), file(b".s"), machine()) else { return };
        let mut error = ptr::null_mut();
        // SAFETY: making code changes a module, so that is done with a copy; all that is made here is disposed of.
        unsafe {
            let mut failed = LLVMPrintModuleToFile(self.module, ir.as_ptr(), &mut error) != 0;
            if !failed {
                let copy = LLVMCloneModule(self.module);
                let kind = LLVMCodeGenFileType::LLVMAssemblyFile;
                failed = LLVMTargetMachineEmitToFile(machine, copy, assembly.as_ptr(), kind, &mut error) != 0;
                LLVMDisposeModule(copy);
            }
            LLVMDisposeTargetMachine(machine);
            if failed {
                log::warn!("softgpu: no listing {}: {}", path.display(), message(error).to_string_lossy());
            }
        }
    }

    fn optimise(&self, passes: &CStr) -> Result<(), String> {
        let machine = machine()?;
        // SAFETY: all that is made here is disposed of.
        unsafe {
            let options = LLVMCreatePassBuilderOptions();
            let failure = LLVMRunPasses(self.module, passes.as_ptr(), machine, options);
            LLVMDisposePassBuilderOptions(options);
            LLVMDisposeTargetMachine(machine);
            if failure.is_null() {
                return Ok(());
            }
            let text = LLVMGetErrorMessage(failure);
            let copy = CStr::from_ptr(text).to_string_lossy().into_owned();
            LLVMDisposeErrorMessage(text);
            Err(copy)
        }
    }
}
