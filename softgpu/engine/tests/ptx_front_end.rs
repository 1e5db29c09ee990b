//! The PTX front end: what each construct becomes, and what it does with text
//! that is wrong.

use vgpu_engine::ir::*;
use vgpu_engine::ptx;

const HEADER: &str = ".version 8.4\n.target sm_80\n.address_size 64\n";

/// Output of nvcc for the `.cu` files beside it.
const SAMPLES: [(&str, &str); 4] = [
    ("kernels", include_str!("ptx/kernels.ptx")),
    ("half", include_str!("ptx/half.ptx")),
    ("async", include_str!("ptx/async.ptx")),
    ("objects", include_str!("ptx/objects.ptx")),
];

fn compile(text: &str) -> Module {
    let module = ptx::compile(text.as_bytes()).unwrap_or_else(|error| panic!("{error}"));
    verify(&module).unwrap_or_else(|error| panic!("{error}"));
    module
}

/// Compiles declarations behind the usual header.
fn module(declarations: &str) -> Module {
    compile(&format!("{HEADER}{declarations}"))
}

/// An entry `k` around `code`, with registers of all classes declared.
fn entry(code: &str) -> String {
    format!(
        "{HEADER}.entry k(.param .u64 a, .param .u32 n)\n{{\n\
         .reg .pred %p<8>; .reg .b16 %h<8>; .reg .b32 %r<16>; .reg .b64 %rd<16>;\n\
         .reg .f32 %f<8>; .reg .f64 %d<8>; .reg .b128 %q<4>;\n{code}\nret;\n}}\n"
    )
}

/// The lines that the statements of `code` become, without the final `ret`.
fn lower(code: &str) -> String {
    let module = compile(&entry(code));
    let function = &module.functions[0];
    assert_eq!(function.unsupported, None, "{code}");
    let text = function.to_string();
    let lines: Vec<&str> = text.lines().skip(2).collect();
    lines[..lines.len() - 1].iter().map(|line| line.trim()).collect::<Vec<_>>().join("\n")
}

/// Position and message of the error in `text`.
fn error(text: &str) -> (u32, u32, String) {
    match ptx::compile(text.as_bytes()) {
        Ok(_) => panic!("accepted: {text}"),
        Err(error) => (error.line, error.column, error.message),
    }
}

/// Checks that `code` becomes one operation whose text contains `wanted`.
#[track_caller]
fn assert_lowers(code: &str, wanted: &str) {
    let lowered = lower(code);
    assert_eq!(lowered.lines().count(), 1, "{code} became\n{lowered}");
    assert!(lowered.contains(wanted), "{code} became\n{lowered}\nwanted {wanted}");
}

#[test]
fn integer_arithmetic() {
    assert_lowers("add.s32 %r1, %r2, -1;", "IntBinary { op: Add, ty: S32");
    assert_lowers("add.sat.s32 %r1, %r2, %r3;", "op: AddSat, ty: S32");
    assert_lowers("add.u16x2 %r1, %r2, %r3;", "op: Add, ty: U16x2");
    assert_lowers("sub.u64 %rd1, %rd2, 0xFFFFFFFFFFFFFFFFU;", "op: Sub, ty: U64");
    assert_lowers("mul.lo.u16 %h1, %h2, 010;", "op: MulLo, ty: U16");
    assert_lowers("mul.hi.s64 %rd1, %rd2, %rd3;", "op: MulHi, ty: S64");
    assert_lowers("mul.wide.s32 %rd1, %r2, %r3;", "op: MulWide, ty: S32");
    assert_lowers("mul24.lo.u32 %r1, %r2, %r3;", "op: Mul24Lo, ty: U32");
    assert_lowers("mad.lo.s32 %r1, %r2, %r3, %r4;", "IntTernary { op: MadLo, ty: S32");
    assert_lowers("mad.hi.sat.s32 %r1, %r2, %r3, %r4;", "op: MadHiSat, ty: S32");
    assert_lowers("mad.wide.u32 %rd1, %r2, %r3, %rd4;", "op: MadWide, ty: U32");
    assert_lowers("mad24.hi.sat.s32 %r1, %r2, %r3, %r4;", "op: Mad24HiSat, ty: S32");
    assert_lowers("div.s32 %r1, %r2, %r3;", "op: Div, ty: S32");
    assert_lowers("rem.u64 %rd1, %rd2, %rd3;", "op: Rem, ty: U64");
    assert_lowers("min.s16x2 %r1, %r2, %r3;", "op: Min, ty: S16x2");
    assert_lowers("max.relu.s32 %r1, %r2, %r3;", "op: MaxRelu, ty: S32");
    assert_lowers("abs.s64 %rd1, %rd2;", "IntUnary { op: Abs, ty: S64");
    assert_lowers("neg.s16 %h1, %h2;", "IntUnary { op: Neg, ty: S16");
    assert_lowers("sad.u32 %r1, %r2, %r3, %r4;", "op: Sad, ty: U32");
    assert_lowers("addc.cc.u32 %r1, %r2, %r3;", "AddCarry { ty: U32");
    assert_lowers("sub.cc.u32 %r1, %r2, %r3;", "SubBorrow { ty: U32");
    assert_lowers("madc.hi.u32 %r1, %r2, %r3, %r4;", "MadCarry { high: true, ty: U32");
    assert_lowers("dp4a.u32.s32 %r1, %r2, %r3, %r4;", "Dp4a { a_signed: false, b_signed: true");
    assert_lowers("dp2a.hi.s32.u32 %r1, %r2, %r3, %r4;", "Dp2a { high: true, a_signed: true, b_signed: false");
}

#[test]
fn operands_keep_their_order() {
    assert_lowers("add.s32 %r1, %r2, -1;", "IntBinary { op: Add, ty: S32, dst: %1, a: %0, b: 0xffffffff }");
    assert_lowers("sub.u64 %rd1, %rd2, 0xFFFFFFFFFFFFFFFFU;", "b: 0xffffffffffffffff");
    assert_lowers("mul.lo.u16 %h1, %h2, 010;", "b: 0x8");
    assert_lowers("addc.cc.u32 %r1, %r2, %r3;", "carry_in: Some(%3), carry_out: Some(%3)");
    assert_lowers("sub.u32 %r1, %r2, %r3;", "dst: %2, a: %0, b: %1");
    assert_lowers("selp.b32 %r1, %r2, %r3, %p1;", "dst: %3, a: %0, b: %1, p: %2");
    assert_lowers("bfi.b32 %r1, %r2, %r3, 4, 8;", "dst: %2, a: %0, b: %1, pos: 0x4, len: 0x8");
}

#[test]
fn logic_shifts_and_bit_fields() {
    assert_lowers("and.b32 %r1, %r2, 15;", "op: And, ty: U32");
    assert_lowers("not.b64 %rd1, %rd2;", "op: Not, ty: U64");
    assert_lowers("xor.pred %p1, %p2, %p3;", "PredBinary { op: Xor");
    assert_lowers("not.pred %p1, %p2;", "PredNot");
    assert_lowers("cnot.b16 %h1, %h2;", "op: Cnot, ty: U16");
    assert_lowers("shl.b64 %rd1, %rd2, %r1;", "op: Shl, ty: U64");
    assert_lowers("shr.s32 %r1, %r2, 31;", "op: Shr, ty: S32");
    assert_lowers("shf.l.wrap.b32 %r1, %r2, %r3, %r4;", "op: ShfLWrap");
    assert_lowers("shf.r.clamp.b32 %r1, %r2, %r3, %r4;", "op: ShfRClamp");
    assert_lowers("lop3.b32 %r1, %r2, %r3, %r4, 0x96;", "Lop3 { lut: 150");
    assert_lowers("prmt.b32 %r1, %r2, %r3, 0x3210;", "op: Prmt(Index)");
    assert_lowers("prmt.b32.rc16 %r1, %r2, %r3, %r4;", "op: Prmt(Rc16)");
    assert_lowers("bfe.s64 %rd1, %rd2, %r1, %r2;", "op: Bfe, ty: S64");
    assert_lowers("bfind.shiftamt.u32 %r1, %r2;", "op: BfindShift, ty: U32");
    assert_lowers("brev.b64 %rd1, %rd2;", "op: Brev, ty: U64");
    assert_lowers("popc.b64 %r1, %rd2;", "op: Popc, ty: U64");
    assert_lowers("clz.b32 %r1, %r2;", "op: Clz, ty: U32");
    assert_lowers("fns.b32 %r1, %r2, %r3, %r4;", "op: Fns");
    assert_lowers("bmsk.wrap.b32 %r1, %r2, %r3;", "op: BmskWrap");
    assert_lowers("szext.clamp.s32 %r1, %r2, %r3;", "op: SzextClamp, ty: S32");
}

#[test]
fn floating_point() {
    assert_lowers(
        "add.rz.ftz.sat.f32 %f1, %f2, 0f3F800000;",
        "ty: F32, mode: FloatMode { rounding: Rz, ftz: true, sat: true",
    );
    assert_lowers("add.f32 %f1, %f2, 1.5;", "b: 0x3fc00000");
    assert_lowers("add.f32 %f1, %f2, -0f3F800000;", "b: 0xbf800000");
    assert_lowers("mul.f64 %d1, %d2, 0d4000000000000000;", "ty: F64");
    assert_lowers("mul.f64 %d1, %d2, -2.5e-1;", "b: 0xbfd0000000000000");
    assert_lowers("fma.rn.relu.bf16x2 %r1, %r2, %r3, %r4;", "op: Fma, ty: BF16x2");
    assert_lowers("fma.rn.f16 %h1, %h2, %h3, %h4;", "op: Fma, ty: F16,");
    assert_lowers("div.full.f32 %f1, %f2, %f3;", "op: DivFull");
    assert_lowers("div.rn.f64 %d1, %d2, %d3;", "op: Div,");
    assert_lowers("rcp.approx.ftz.f64 %d1, %d2;", "op: RcpApprox, ty: F64");
    assert_lowers("sqrt.rp.f32 %f1, %f2;", "op: Sqrt, ty: F32, mode: FloatMode { rounding: Rp");
    assert_lowers("rsqrt.approx.f32 %f1, %f2;", "op: RsqrtApprox");
    assert_lowers("ex2.approx.ftz.bf16x2 %r1, %r2;", "op: Ex2Approx, ty: BF16x2");
    assert_lowers("tanh.approx.f32 %f1, %f2;", "op: TanhApprox");
    assert_lowers("min.NaN.xorsign.abs.f16x2 %r1, %r2, %r3;", "nan: true, xorsign_abs: true");
    assert_lowers("copysign.f32 %f1, %f2, %f3;", "op: Copysign");
    assert_lowers("testp.subnormal.f64 %p1, %d2;", "Testp { test: Subnormal, ty: F64");
}

#[test]
fn comparisons() {
    assert_lowers("setp.ltu.ftz.f32 %p1, %f1, %f2;", "cmp: Ltu, ty: Float { ty: F32, ftz: true }");
    assert_lowers("setp.hs.u32 %p1, %r1, %r2;", "cmp: Ge, ty: Int(U32)");
    assert_lowers("setp.eq.and.s32 %p1|%p2, %r1, 0, !%p3;", "dst2: Some(%3), a: %1, b: 0x0, combine: Some((And, !%0))");
    assert_lowers("setp.gt.f16x2 %p1|%p2, %r1, %r2;", "ty: Float { ty: F16x2");
    assert_lowers("set.le.u32.f32 %r1, %f1, %f2;", "result: Int(W32)");
    assert_lowers("set.nan.f32.f64 %f1, %d1, %d2;", "result: Float(F32)");
    assert_lowers("slct.s64.f32 %rd1, %rd2, %rd3, %f1;", "width: W64, c_float: Some(false)");
}

#[test]
fn conversions() {
    assert_lowers(
        "cvt.rzi.ftz.sat.s32.f32 %r1, %f1;",
        "to: Int(S32), from: Float(F32), mode: CvtMode { rounding: Rz, integral: true, ftz: true, sat: true",
    );
    assert_lowers("cvt.s64.s8 %rd1, %r1;", "to: Int(S64), from: Int(S8)");
    assert_lowers("cvt.rn.f16.f32 %h1, %f1;", "to: Float(F16), from: Float(F32)");
    assert_lowers("cvt.f64.f32 %d1, %f1;", "to: Float(F64)");
    assert_lowers("cvt.rmi.f32.f32 %f1, %f2;", "integral: true");
    assert_lowers("cvt.rna.tf32.f32 %r1, %f1;", "to: Tf32");
    assert_lowers("cvt.rn.relu.bf16x2.f32 %r1, %f1, %f2;", "CvtPackFloat { to: BF16x2");
    assert_lowers("cvt.pack.sat.u8.s32.b32 %r1, %r2, %r3, %r4;", "CvtPackInt { to: U8");
    assert_lowers("mov.b64 {%r1, _}, %rd1;", "Unpack { part: W32");
    assert_lowers("mov.b32 %r1, {%h1, %h2};", "Pack { part: W16");
    assert_lowers("mov.u32 %r1, %tid.y;", "src: TidY");
    assert_lowers("mov.u32 %r1, %envreg31;", "src: EnvReg(31)");
    assert_lowers("mov.u64 %rd1, %clock64;", "src: Clock64");
    assert_lowers("mov.pred %p1, 1;", "Mov { width: None, dst: %0, src: 0x1 }");
    assert_lowers("cvta.to.shared.u64 %rd1, %rd2;", "Cvta { space: Shared, to_space: true");
    assert_lowers("isspacep.local %p1, %rd1;", "Isspacep { space: Local");
}

#[test]
fn memory_accesses() {
    assert_lowers("ld.param.u32 %r1, [n];", "space: Param, ordering: Weak, dst: %0, addr: [0x8+0]");
    assert_lowers(
        "ld.global.nc.L1::no_allocate.L2::128B.s8 %r1, [%rd1+-4];",
        "ty: S(W8), space: Global, ordering: Weak, dst: %1, addr: [%0-4]",
    );
    assert_lowers(
        "ld.volatile.shared.v4.f32 {%f1,%f2,%f3,%f4}, [%r1];",
        "LoadVec { ty: U(W32), space: Shared, ordering: Relaxed",
    );
    assert_lowers("ld.acquire.gpu.u64 %rd1, [%rd2];", "space: Generic, ordering: Acquire");
    assert_lowers("ld.global.b128 %q1, [%rd1];", "ty: U(W128)");
    assert_lowers("st.global.cs.u8 [%rd1], %r1;", "Store { width: W8, space: Global");
    assert_lowers("st.local.v2.b64 [%rd1], {%rd2, 7};", "[%1, 0x7]");
    assert_lowers("atom.global.add.f32 %f1, [%rd1], %f2;", "ty: Float { ty: F32, ftz: true }");
    assert_lowers(
        "atom.acq_rel.sys.shared.cas.b64 %rd1, [%r1], %rd2, %rd3;",
        "op: Cas, ty: Int(U64), space: Shared, ordering: AcqRel, scope: Sys",
    );
    assert_lowers(
        "red.relaxed.gpu.global.max.s64 [%rd1], %rd2;",
        "op: Max, ty: Int(S64), space: Global, ordering: Relaxed, scope: Gpu, dst: None",
    );
    assert_lowers("atom.global.add.noftz.f16x2 %r1, [%rd1], %r2;", "ty: Float { ty: F16x2, ftz: false }");
    assert_lowers(
        "cp.async.cg.shared.global [%r1], [%rd1], 16, %r2;",
        "CpAsync { bytes: 16, dst: [%0+0], src: [%1+0], src_bytes: Some(%2) }",
    );
    assert_lowers("membar.gl;", "Fence { ordering: SeqCst, scope: Gpu }");
    assert_lowers("fence.acq_rel.cta;", "Fence { ordering: AcqRel, scope: Cta }");
    assert_eq!(lower("prefetch.global.L2 [%rd1]; cp.async.wait_group 0;"), "");
}

#[test]
fn barriers_and_warp_operations() {
    assert_lowers("bar.sync 0;", "BarrierSync { id: 0x0, threads: None }");
    assert_lowers("barrier.cta.sync.aligned %r1, %r2;", "threads: Some(%1)");
    assert_lowers("bar.arrive 1, 64;", "BarrierArrive { id: 0x1, threads: 0x40 }");
    assert_lowers("bar.red.popc.u32 %r1, 0, !%p1;", "op: Popc, dst: %1, id: 0x0, threads: None, p: !%0");
    assert_lowers("bar.red.and.pred %p1, 0, 32, %p2;", "op: And");
    assert_lowers("bar.warp.sync -1;", "WarpSync { mask: 0xffffffff }");
    assert_lowers("shfl.sync.down.b32 %r1|%p1, %r2, 16, 31, -1;", "mode: Down");
    assert_lowers("shfl.idx.b32 %r1, %r2, 0, 31;", "mask: None");
    assert_lowers("vote.sync.ballot.b32 %r1, !%p1, -1;", "mode: Ballot");
    assert_lowers("match.all.sync.b64 %r1|%p1, %rd1, -1;", "MatchAll { width: W64");
    assert_lowers("activemask.b32 %r1;", "ActiveMask");
    assert_lowers("redux.sync.min.s32 %r1, %r2, -1;", "op: MinS32");
    assert_lowers("elect.sync _|%p1, -1;", "Elect");
    assert_lowers("nanosleep.u32 100;", "Nanosleep { duration: 0x64 }");
}

#[test]
fn guards_split_blocks_only_for_control_flow() {
    assert_lowers("@!%p1 add.s32 %r1, %r1, 1;", "@!%0 IntBinary");
    assert_eq!(
        lower("@%p1 exit;\nmov.u32 %r1, 0;"),
        "CondBranch { cond: %0, taken: b1, fallthrough: b2 }\nb1:\nExit\nb2:\nMov { width: Some(W32), dst: %1, src: 0x0 }"
    );
}

/// Post-dominators of the blocks of `code`.
fn joins(code: &str) -> Vec<Option<u32>> {
    let module = compile(&entry(code));
    module.functions[0].blocks.iter().map(|block| block.ipdom.map(|id| id.0)).collect()
}

#[test]
fn diverged_lanes_join_at_the_post_dominator() {
    let diamond = "@%p1 bra A; mov.u32 %r1, 1; bra B; A: mov.u32 %r1, 2; B: mov.u32 %r2, 3;";
    assert_eq!(joins(diamond), [Some(3), Some(3), Some(3), None]);
    let nested_loops = "A: mov.u32 %r1, 1; B: add.s32 %r1, %r1, 1; @%p1 bra B; @%p2 bra A; mov.u32 %r2, 2;";
    assert_eq!(joins(nested_loops), [Some(1), Some(2), Some(3), None]);
    let early_exit = "@%p1 exit; @%p2 bra A; mov.u32 %r1, 1; A: mov.u32 %r1, 2;";
    assert_eq!(joins(early_exit), [None, None, Some(4), Some(4), None]);
    assert_eq!(joins("A: bra A;"), [None, None]);
}

#[test]
fn labels_belong_to_their_braces() {
    let code = "{ L: bra L; } { L: @%p1 bra OUT; bra L; } OUT: mov.u32 %r1, 0;";
    let module = compile(&entry(code));
    let terminators: Vec<Terminator> = module.functions[0].blocks.iter().map(|block| block.terminator).collect();
    assert_eq!(terminators[0], Terminator::Branch(BlockId(0)));
    assert!(matches!(terminators[1], Terminator::CondBranch { taken: BlockId(3), fallthrough: BlockId(2), .. }));
    assert_eq!(terminators[2], Terminator::Branch(BlockId(1)));
}

#[test]
fn registers_shadow_in_braces() {
    let lowered = lower("mov.u32 %r1, 1; { .reg .b64 %r1; mov.u64 %r1, 2; } mov.u32 %r1, 3;");
    let dst: Vec<&str> = lowered.lines().map(|line| line.split("dst: ").nth(1).unwrap()).collect();
    assert_eq!(dst, ["%0, src: 0x1 }", "%1, src: 0x2 }", "%0, src: 0x3 }"]);
}

#[test]
fn indexed_branches_have_a_table() {
    let code = "T: .branchtargets A, B; brx.idx %r1, T; A: mov.u32 %r1, 1; B: mov.u32 %r2, 2;";
    let module = compile(&entry(code));
    assert_eq!(module.functions[0].branch_tables, [[BlockId(1), BlockId(2)]]);
    assert_eq!(module.functions[0].blocks[0].ipdom, Some(BlockId(2)));
}

#[test]
fn entry_parameters_are_laid_out_by_alignment() {
    let module = module(
        ".visible .entry k(.param .u8 a, .param .align 8 .b8 s[12], .param .u32 b, .param .u64 .ptr .global .align 4 p)\n\
         .maxntid 128, 2\n.minnctapersm 3\n{ ret; }",
    );
    let (_, entry) = module.entry("k").unwrap();
    let offsets: Vec<ParamStorage> = entry.params.iter().map(|param| param.storage).collect();
    assert_eq!(offsets, [0, 8, 20, 24].map(|offset| ParamStorage::Block { offset }));
    assert_eq!(entry.param_block_size, 32);
    assert_eq!(entry.max_ntid, Some([128, 2, 1]));
    assert_eq!(entry.min_ctas_per_sm, Some(3));
    assert_eq!(entry.linkage, Linkage::Visible);
}

#[test]
fn calls_pass_scalars_in_registers_and_structs_in_the_frame() {
    let module = module(
        ".func (.param .align 8 .b8 r[16]) f(.param .b32 x, .param .align 8 .b8 s[16])\n\
         { .reg .b32 %r<3>; .reg .b64 %rd<3>; ld.param.u32 %r1, [x]; ld.param.s8 %r2, [x+1];\n\
           ld.param.b64 %rd1, [s+8]; st.param.b64 [r], %rd1; ret; }\n\
         .entry k()\n\
         { .reg .b32 %r<2>; .reg .b64 %rd<2>;\n\
           { .param .b32 p0; st.param.b32 [p0], 5; .param .align 8 .b8 p1[16]; st.param.b64 [p1+8], %rd1;\n\
             .param .align 8 .b8 r0[16]; call.uni (r0), f, (p0, p1); ld.param.b64 %rd1, [r0]; } ret; }",
    );
    let f = &module.functions[0];
    assert_eq!(f.params[0].storage, ParamStorage::Reg(Reg(0)));
    assert_eq!(f.params[1].storage, ParamStorage::Frame { offset: 16 });
    assert_eq!(f.results[0].storage, ParamStorage::Frame { offset: 0 });
    let text = module.functions[1].to_string();
    assert!(text.contains("[Frame { offset: 16, size: 16 }] [Value(%0), Frame { offset: 0, size: 16 }]"), "{text}");
    assert!(text.contains("space: Local"), "{text}");
    assert_eq!(module.functions[1].callees, [FunctionId(0)]);
}

#[test]
fn indirect_calls_carry_a_prototype() {
    let module = module(
        ".func (.param .b32 r) f(.param .b32 x) { .reg .b32 %r<2>; ld.param.b32 %r1, [x]; st.param.b32 [r], %r1; ret; }\n\
         .entry k() { .reg .b64 %rd<2>; .param .b32 p; .param .b32 r; mov.u64 %rd1, f; st.param.b32 [p], 1;\n\
         proto : .callprototype (.param .b32 _) _ (.param .b32 _);\n\
         call (r), %rd1, (p), proto; ret; }",
    );
    let scalar = ParamShape::Scalar { size: 4 };
    assert_eq!(module.signatures, [Signature { results: vec![scalar], params: vec![scalar] }]);
    assert!(module.functions[1].has_indirect_calls);
    assert_eq!(module.symbols[0].target, SymbolTarget::Function(FunctionId(0)));
}

#[test]
fn runtime_functions_are_intrinsics_unless_defined() {
    let call = ".entry k() { .param .b64 p; call.uni free, (p); ret; }";
    let declared = module(&format!(".extern .func free(.param .b64 p);\n{call}"));
    assert!(declared.functions[1].to_string().contains("target: Intrinsic(Free)"));
    let defined = module(&format!(".func free(.param .b64 p) {{ ret; }}\n{call}"));
    assert!(defined.functions[1].to_string().contains("target: Function"));
}

#[test]
fn a_missing_function_is_an_undefined_symbol_where_it_is_used() {
    let unused = module(".extern .func f();\n.entry k() { ret; }");
    assert!(unused.symbols.is_empty());
    let used = module(".extern .func f();\n.entry k() { call f; ret; }");
    assert_eq!(used.symbols[0].target, SymbolTarget::Undefined);
    assert_eq!(used.symbols[0].name, "f");
}

#[test]
fn variables_keep_their_initial_bytes_and_relocations() {
    let module = module(
        ".visible .global .align 4 .u32 a[2][3] = {{1, 2}, {0x10}};\n\
         .const .f64 c = -1.5;\n\
         .func f() { ret; }\n\
         .global .u64 p[4] = {a, generic(a)+8, f, 0};\n\
         .global .align 8 .b8 packed[3] = {7, 0xFF(a), 0xFF00(a)};\n\
         .common .global .align 4 .b8 big[4096];\n\
         .extern .global .u32 elsewhere;",
    );
    let [a, c, p, packed, big] = &module.variables[..] else { panic!("{:?}", module.variables) };
    let words = |variable: &Variable| -> Vec<u32> {
        variable.init.chunks(4).map(|word| u32::from_le_bytes(word.try_into().unwrap())).collect()
    };
    assert_eq!((a.size, a.linkage, words(a)), (24, Linkage::Visible, vec![1, 2, 0, 16]));
    assert_eq!((c.space, c.init.as_slice()), (Space::Const, (-1.5f64).to_le_bytes().as_slice()));
    let addends: Vec<(u64, i64, bool)> = p.relocations.iter().map(|r| (r.offset, r.addend, r.generic)).collect();
    assert_eq!(addends, [(0, 0, false), (8, 8, true), (16, 0, false)]);
    let shifts: Vec<(u64, u32, u32)> = packed.relocations.iter().map(|r| (r.offset, r.size, r.shift)).collect();
    assert_eq!(shifts, [(1, 1, 0), (2, 1, 8)]);
    assert_eq!((big.size, big.init.len(), big.linkage), (4096, 0, Linkage::Common));
}

/// Texts as a linker joins them.
fn joined(texts: &[&str]) -> Module {
    compile(&texts.iter().map(|text| format!("{HEADER}{text}\n")).collect::<String>())
}

#[test]
fn names_private_to_a_joined_text_mean_nothing_in_the_others() {
    let text = |n: u32, kernel: &str| {
        format!(
            ".global .u32 counter = {n};\n\
             .func (.param .b32 r) helper() {{ st.param.b32 [r], {n}; ret; }}\n\
             .visible .entry {kernel}() {{ .reg .b64 %d; .param .b32 x; mov.u64 %d, counter; call (x), helper, (); ret; }}"
        )
    };
    let module = joined(&[&text(1, "first"), &text(2, "second"), ".global .u32 counter = 3;"]);
    let counters: Vec<u8> = module.variables.iter().filter(|v| v.name == "counter").map(|v| v.init[0]).collect();
    assert_eq!(counters, [1, 2, 3]);
    let callee = |kernel: &str| module.entry(kernel).map(|(_, function)| function.callees.clone());
    assert!(callee("first").is_some() && callee("first") != callee("second"));
}

#[test]
fn a_private_name_hides_an_exported_one_in_its_own_text_only() {
    let exported = ".visible .func shared_name() { ret; }";
    let private = ".func shared_name() { ret; }\n.visible .entry own() { call shared_name, (); ret; }";
    let user = ".extern .func shared_name();\n.visible .entry other() { call shared_name, (); ret; }";
    let module = joined(&[exported, private, user]);
    let callee = |kernel: &str| module.entry(kernel).unwrap().1.callees[0].0;
    assert_eq!((callee("own"), callee("other")), (1, 0));
}

#[test]
fn weak_and_common_definitions_give_way() {
    let value = |texts: &[&str]| -> Vec<u8> {
        let module = joined(&[texts, &[".extern .global .u32 v;\n.global .u64 at = v;"]].concat());
        let at = module.variables.iter().find(|v| v.name == "at").unwrap();
        let SymbolTarget::Variable(id) = module.symbols[at.relocations[0].symbol.0 as usize].target else {
            panic!("not resolved")
        };
        module.variables[id.0 as usize].init.clone()
    };
    let (weak, strong) = (".weak .global .u32 v = 1;", ".visible .global .u32 v = 2;");
    assert_eq!(value(&[weak, ".weak .global .u32 v = 3;"])[0], 1);
    assert_eq!(value(&[weak, strong])[0], 2);
    assert_eq!(value(&[strong, weak])[0], 2);
    assert_eq!(value(&[strong, ".common .global .u32 v;"])[0], 2);
    assert_eq!(value(&[".common .global .u32 v;", ".common .global .u32 v;"]), []);
    let function = |linkage: &str, n: u32| format!("{linkage} .func (.reg .b32 r) f() {{ mov.b32 r, {n}; ret; }}");
    for (texts, wanted) in [
        ([function(".weak", 1), function(".weak", 2)], "1"),
        ([function(".weak", 1), function(".visible", 2)], "2"),
        ([function(".visible", 1), function(".weak", 2)], "1"),
    ] {
        let module = joined(&[&texts[0], &texts[1]]);
        assert_eq!(module.functions.len(), 1);
        assert!(module.functions[0].to_string().contains(wanted), "{}", module.functions[0]);
    }
    let twice = format!("{HEADER}{}\n{HEADER}{}", function(".visible", 1), function(".visible", 2));
    assert!(error(&twice).2.contains("`f` is defined twice"));
}

#[test]
fn joined_texts_may_disagree_about_a_result() {
    let caller = ".extern .func (.param .b64 r) consume(.param .b32 x);\n\
        .visible .entry k() { .param .b32 x; .param .b64 r; st.param.b32 [x], 1; call (r), consume, (x); ret; }";
    let definition = ".visible .func consume(.param .b32 x) { ret; }";
    joined(&[caller, definition]);
    let other = ".visible .func consume(.param .b64 x) { ret; }";
    let text = format!("{HEADER}{caller}\n{HEADER}{other}");
    assert!(error(&text).2.contains("differs from its earlier declaration"));
}

#[test]
fn shared_memory_is_laid_out_per_entry() {
    let module = module(
        ".extern .shared .align 32 .b8 dynamic[];\n\
         .func f() { .shared .align 4 .b8 mine[12]; .reg .b32 %r<2>; mov.u32 %r1, mine; ret; }\n\
         .entry plain() { .shared .align 8 .b8 x[8]; .shared .align 4 .b8 y[4]; .reg .b32 %r<3>;\n\
           mov.u32 %r1, y; st.shared.u32 [x+4], %r1; ret; }\n\
         .entry calls() { .shared .align 8 .b8 x[8]; .reg .b32 %r<3>; mov.u32 %r1, x; call f; mov.u32 %r2, dynamic; ret; }",
    );
    let plain = &module.functions[1];
    assert_eq!((plain.shared_size, plain.uses_dynamic_shared), (12, false));
    assert!(plain.to_string().contains("addr: [0x0+4], src: %0"), "{plain}");
    let calls = &module.functions[2];
    // 12 bytes of `f`, then `x` at 16, then dynamic memory at a multiple of 32.
    assert_eq!((calls.shared_size, calls.uses_dynamic_shared), (32, true));
    assert!(calls.to_string().contains("dst: %0, src: 0x10"), "{calls}");
    assert!(calls.to_string().contains("src: DynamicSmemBase"), "{calls}");
}

#[test]
fn shared_memory_of_callees_is_counted() {
    let module = module(
        ".extern .shared .align 16 .b8 dynamic[];\n\
         .func leaf() { .shared .b8 a[100]; .reg .b32 %r<3>; mov.u32 %r1, a; mov.u32 %r2, dynamic; ret; }\n\
         .func middle() { call leaf; ret; }\n\
         .entry direct() { call middle; ret; }\n\
         .entry indirect() { .reg .b64 %rd<2>; mov.u64 %rd1, middle; p: .callprototype _ (); call %rd1, (), p; ret; }\n\
         .entry neither() { .shared .b8 b[4000]; .reg .b32 %r<2>; mov.u32 %r1, b; ret; }",
    );
    let sizes: Vec<u32> = module.functions[2..].iter().map(|function| function.shared_size).collect();
    assert_eq!(sizes, [112, 112, 4000]);
    let dynamic: Vec<bool> = module.functions[2..].iter().map(|function| function.uses_dynamic_shared).collect();
    assert_eq!(dynamic, [true, true, false]);
}

#[test]
fn unsupported_instructions_do_not_spoil_the_module() {
    let module = module(
        ".entry bad() { .reg .b32 %r<9>;\n  wgmma.mma_async.sync.aligned.m64n8k16 %r1, [t, {%r5,%r6}];\n add.s32 %r1, %r1, 1; ret; }\n\
         .entry good() { ret; }",
    );
    let unsupported = module.functions[0].unsupported.as_ref().unwrap();
    assert_eq!(unsupported.what, "instruction `wgmma.mma_async.sync.aligned.m64n8k16`");
    assert_eq!(unsupported.at, PtxPos { line: 5, column: 3 });
    assert_eq!(module.functions[1].unsupported, None);
}

#[test]
fn errors_name_line_and_column() {
    let code = |code: &str| entry(&format!("{code}\n"));
    for (text, line, column, message) in [
        (String::new(), 1, 1, "expected `.version` at the start of the module"),
        ("hello".into(), 1, 1, "expected `.version`"),
        (format!("{HEADER}.bogus x;"), 4, 1, "unknown directive `.bogus`"),
        (format!("{HEADER}.global .u32 x;\n.global .u32 x;"), 5, 1, "`x` is declared twice"),
        (format!("{HEADER}.global .u32 x[2] = {{1,2,3}};"), 4, 26, "more initial values than elements"),
        (format!("{HEADER}.entry k() {{"), 4, 13, "expected `}`, found the end of the text"),
        (code("add.s32 %r1, %r99, 1;"), 8, 14, "unknown symbol `%r99`"),
        (code("  frobnicate.u32 %r1;"), 8, 3, "unknown instruction `frobnicate`"),
        (code("add.s32.wide %r1, %r2, %r3;"), 8, 1, "unexpected modifier `.wide` on `add`"),
        (code("add.s32 %r1, %r2;"), 8, 1, "`add` takes 3 operands, found 2"),
        (code("add.s64 %rd1, %r2, 1;"), 8, 15, "register `%r2` is 32 bits wide, 64 bits needed"),
        (code("mov.u32 %r1, %r2[1];"), 8, 14, "`%r2` is not an array"),
        (code("mov.u32 %r1 %r2;"), 8, 13, "expected `,`, found `%r2`"),
        (code("@%r1 ret;"), 8, 2, "`%r1` is not a predicate register"),
        (code("bra NOWHERE;"), 8, 5, "label `NOWHERE` is not defined"),
        (code("L: L: ret;"), 8, 4, "label `L` is defined twice"),
        (code("mov.f32 %f1, 0f3F80;"), 8, 14, "floating-point literal needs 8 hexadecimal digits"),
        (code("mov.u32 %r1, 99999999999999999999;"), 8, 14, "not a valid integer literal"),
        (code("st.const.u32 [%rd1], %r1;"), 8, 1, "this space is read-only"),
        (code("cvt.u32.f32 %r1, %f1;"), 8, 1, "needs a rounding modifier"),
        (code("call nobody;"), 8, 6, "unknown symbol `nobody`"),
        (code(".reg .v2 .b32 v; mov.u32 v.z, 1;"), 8, 26, "`v` has 2 elements"),
        (code(".reg .v2 .pred v;"), 8, 1, "no register has this type"),
        (code("/* open"), 8, 1, "comment is not closed"),
    ] {
        let (found_line, found_column, found) = error(&text);
        assert!(found.contains(message), "{text}\n{found_line}:{found_column}: {found}\nwanted {message}");
        assert_eq!((found_line, found_column), (line, column), "{text}\n{found}");
    }
}

#[test]
fn an_error_shows_the_source_line() {
    let error = ptx::compile(format!("{HEADER}.entry k() {{\n\tmov.u32 %r1, 0;\n}}").as_bytes()).unwrap_err();
    assert_eq!(
        error.to_string(),
        "line 5, column 10: error: unknown symbol `%r1`\n     mov.u32 %r1, 0;\n             ^"
    );
}

#[test]
fn nvcc_output_compiles_without_unsupported_parts() {
    for (name, text) in SAMPLES {
        let module = compile(text);
        for function in module.functions.iter().filter(|function| function.is_entry) {
            assert_eq!(function.unsupported, None, "{name}: {}", function.name);
            assert!(!function.insts.is_empty(), "{name}: {}", function.name);
        }
    }
}

#[test]
fn text_ends_at_a_nul_byte() {
    let text = format!("{HEADER}.entry k() {{ ret; }}\0garbage");
    assert!(ptx::compile(text.as_bytes()).is_ok());
}

#[test]
fn hostile_sizes_are_refused_without_allocating() {
    for declaration in [
        ".global .b8 x[0xFFFFFFFFFFFFFFFF];",
        ".global .b8 x[4294967296][4294967296];",
        ".global .b8 x[][4294967296][4294967296];",
        ".global .b8 x[2][0x4000000000] = {{1},{2}};",
        ".global .align 3 .b8 x;",
        ".entry k(.param .b8 x[99999]) { ret; }",
        ".entry k() { .local .b8 x[9999999]; ret; }",
        ".entry k() { .shared .b8 x[9999999]; .reg .b32 %r1; mov.u32 %r1, x; ret; }",
    ] {
        error(&format!("{HEADER}{declaration}"));
    }
    // Registers come into being when they are used.
    let module = module(".entry k() { .reg .b32 %r<4294967295>; mov.u32 %r4294967294, 0; ret; }");
    assert_eq!(module.functions[0].regs.len(), 1);
}

#[test]
fn deep_nesting_is_refused() {
    error(&entry(&"{".repeat(10_000)));
    error(&entry(&format!("mov.u32 %r1, {}1;", "(".repeat(10_000))));
    error(&entry(&format!("mov.u32 %r1, {}1;", "-".repeat(10_001))));
}

/// Compiles anything; what compiles must be consistent.
fn survive(text: &[u8]) {
    if let Ok(module) = ptx::compile(text) {
        verify(&module).unwrap_or_else(|error| panic!("{error}"));
    }
}

#[test]
fn every_truncation_is_survived() {
    let (_, text) = SAMPLES[2];
    for end in 0..text.len() {
        survive(&text.as_bytes()[..end]);
    }
}

#[test]
fn matrix_and_video_instructions() {
    let product =
        "mma.sync.aligned.m16n8k8.row.col.f32.f16.f16.f32 {%f1,%f2,%f3,%f4}, {%r1,%r2}, {%r3}, {%f1,%f2,%f3,%f4};";
    assert_lowers(product, "shape: MmaShape { m: 16, n: 8, k: 8 }, kind: Mma, b_kind: Mma, a_ty: F16");
    assert_lowers(
        "mma.sp.sync.aligned.m16n8k64.row.col.s32.s4.u4.s32 {%r1,%r2,%r3,%r4}, {%r5,%r6}, {%r7,%r8}, {%r1,%r2,%r3,%r4}, %r9, 0x1;",
        "sparse: Some(Sparsity { metadata: %0, selector: 1 })",
    );
    assert_lowers(
        "ldmatrix.sync.aligned.m8n8.x2.trans.shared.b16 {%r1, %r2}, [%r3+16];",
        "LoadTiles { space: Shared, transposed: true",
    );
    assert_lowers(
        "vadd2.s32.s32.u32.sat %r1.h0, %r2.h31, %r3, %r4;",
        "parts: 2, bits: 16, shift: 0, mask: 1, saturate: true",
    );
    assert_lowers("vmad.s32.s32.s32.shr7 %r1, -%r2.b3, %r3.h1, %r4;", "negate_product: true");
    for (code, message) in [
        (
            "mma.sync.aligned.m16n8k8.col.col.f32.f16.f16.f32 {%f1,%f2,%f3,%f4}, {%r1,%r2}, {%r3}, {%f1,%f2,%f3,%f4};",
            "this `mma` needs `.row.col`",
        ),
        ("mma.sync.aligned.m16n8k9.row.col.f32.f16.f16.f32 %f1, %r1, %r1, %f1;", "`mma` is not defined for this type"),
        (
            "mma.sync.aligned.m16n8k8.row.col.f16.f16.f16.f32 {%r1,%r2}, {%r3,%r4}, {%r5}, {%f1,%f2,%f3,%f4};",
            "`mma` is not defined for this type",
        ),
        (
            "mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f16 {%f1,%f2,%f3,%f4}, {%r1,%r2,%r3,%r4}, {%r5,%r6}, {%r7,%r8};",
            "`mma` is not defined for this type",
        ),
        (
            "mma.sync.aligned.m8n8k4.row.col.f16.f16.f16.f32 {%r1,%r2,%r3,%r4}, {%r5,%r6}, {%r7,%r8}, {%f1,%f2,%f3,%f4,%f5,%f6,%f7,%f8};",
            "`mma` is not defined for this type",
        ),
        (
            "mma.sync.aligned.m16n8k8.row.col.f32.f16.f16.f32 {%f1,%f2}, {%r1,%r2}, {%r3}, {%f1,%f2,%f3,%f4};",
            "4 registers are needed, found 2",
        ),
        (
            "mma.sp.sync.aligned.m16n8k16.row.col.f32.f16.f16.f16 {%f1,%f2,%f3,%f4}, {%r1,%r2}, {%r3,%r4}, {%r1,%r2}, %r5, 0;",
            "`mma` is not defined for this type",
        ),
        (
            "mma.sp.sync.aligned.m16n8k8.row.col.f16.f16.f16.f16 {%r1,%r2}, {%r1}, {%r3}, {%r1,%r2}, %r5, 0;",
            "`mma` is not defined for this type",
        ),
        (
            "mma.sp.sync.aligned.m16n8k16.row.col.f16.f16.f16.f16 {%r1,%r2}, {%r1,%r2}, {%r3,%r4}, {%r1,%r2}, %r5, 4;",
            "the sparsity selector must be below 4 here",
        ),
        (
            "mma.sp.sync.aligned.m16n8k32.row.col.s32.u8.u8.s32 {%r1,%r2,%r3,%r4}, {%r1,%r2}, {%r3,%r4}, {%r1,%r2,%r3,%r4}, %r5, -1;",
            "the sparsity selector must be below 2 here",
        ),
        (
            "mma.sp.sync.aligned.m16n8k16.row.col.f16.f16.f16.f16 {%r1,%r2}, {%r1,%r2}, {%r3,%r4}, {%r1,%r2}, %r5, %r6;",
            "the sparsity selector must be a constant",
        ),
        (
            "mma.sp.sync.aligned.m16n8k16.row.col.f16.f16.f16.f16 {%r1,%r2}, {%r1,%r2}, {%r3,%r4}, {%r1,%r2};",
            "`mma` takes 6 operands, found 4",
        ),
        (
            "mma.sp.sync.aligned.m16n8k16.row.col.f16.f16.f16.f16 {%r1,%r2}, {%r1,%r2,%r3,%r4}, {%r3,%r4}, {%r1,%r2}, %r5, 0;",
            "2 registers are needed, found 4",
        ),
        (
            "wmma.load.a.sync.aligned.col.m8n8k32.global.s4 {%r1}, [%rd1], %r2;",
            "elements below 8 bits need `.row` for `a` and `.col` for `b`",
        ),
        ("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%r1}, [%r2];", "4 registers are needed, found 1"),
        ("vadd.s32.s32.s32 %r1, %r2.b4, %r3;", "`.b4` selects nothing here"),
        ("alloca.u64 %rd1, 8, 3;", "the alignment of `alloca` must be a power of two up to 2^23"),
    ] {
        assert_eq!(error(&entry(code)).2, message, "{code}");
    }
}

#[test]
fn texture_and_surface_instructions() {
    assert_lowers(
        "tex.2d.v4.f32.f32 {%f1, %f2, %f3, _}, [%rd1, {%f5, %f6}];",
        "geometry: D2, mode: Base, integer: false",
    );
    assert_lowers(
        "tex.base.1d.v4.s32.s32 {%r1, %r2, %r3, %r4}, [%rd1, %r5];",
        "geometry: D1, mode: Base, integer: true",
    );
    let layered = "tex.level.a2d.v4.u32.f32 {%r1,%r2,%r3,%r4}|%p1, [%rd1, %rd2, {%r5,%f1,%f2,%f2}], 0f3f800000;";
    assert_lowers(layered, "geometry: D2Array, mode: Level");
    let gradient =
        "tex.grad.3d.v4.f32.f32 {%f1,%f2,%f3,%f4}, [%rd1, {%f1,%f2,%f3,%f3}], {%f1,%f2,%f3,%f3}, {%f1,%f2,%f3,%f3};";
    assert_lowers(gradient, "geometry: D3, mode: Grad");
    assert_lowers("tld4.g.2d.v4.f32.f32 {%f1,%f2,%f3,%f4}, [%rd1, {%f1,%f2}];", "mode: Gather(1)");
    assert_lowers("txq.level.width.b32 %r1, [%rd1], 2;", "TexQuery { query: Width");
    assert_lowers("suld.b.2d.v2.b64.clamp {%rd3, %rd4}, [%rd1, {%r1, %r2}];", "action: Load(W64), bounds: Clamp");
    assert_lowers("sust.b.a1d.cg.b8.zero [%rd1, {%r1, %r2}], {%h1};", "action: Store(W8), bounds: Zero");
    assert_lowers("sured.b.min.1d.s32.trap [%rd1, {%r1}], %r2;", "Reduce { op: Min, ty: S32, formatted: false }");
    for (code, message) in [
        ("tex.2d.v4.f32.f32 {%f1,%f2,%f3,%f4}, [%rd1, {%f1}];", "2 coordinates are needed, found 1"),
        ("tex.2d.v4.f32.f32 {%f1,%f2}, [%rd1, {%f1,%f2}];", "the results do not fit `.v4` or `.v2.f16x2`"),
        ("tex.v4.f32.f32 {%f1,%f2,%f3,%f4}, [%rd1, {%f1,%f2}];", "a geometry such as `.2d` is missing"),
        ("suld.b.2d.b32 {%r1}, [%rd1, {%r1,%r2}];", "`.trap`, `.clamp` or `.zero` is missing"),
        ("tex.2d.v4.f32.f32 {%f1,%f2,%f3,%f4}, [%r1, {%f1,%f2}];", "register `%r1` is 32 bits wide, 64 bits needed"),
    ] {
        assert_eq!(error(&entry(code)).2, message, "{code}");
    }
}
