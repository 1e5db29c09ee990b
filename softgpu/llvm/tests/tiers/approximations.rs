//! Approximate functions and roundings in a direction: the same bits in both tiers, for numbers of all sizes.

use super::generated::{difference, BLOCKS};
use std::fmt::Write;

/// A kernel that writes for each thread what results for many words, as arguments, have in common.
fn kernel() -> String {
    let mut text = String::from(
        ".version 8.6\n.target sm_80\n.address_size 64\n\
         .visible .entry k(.param .u64 pin, .param .u64 pout, .param .u64 pcounters)\n{\n\
         .reg .b32 %t<5>, %x, %y, %sum, %round;\n.reg .f32 %f<4>;\n.reg .pred %p;\n.reg .b64 %out, %own;\n\
         ld.param.u64 %out, [pout];\ncvta.to.global.u64 %out, %out;\n\
         mov.u32 %t0, %ntid.x; mov.u32 %t1, %ntid.y; mov.u32 %t2, %ntid.z; mov.u32 %t3, %tid.z;\n\
         mov.u32 %t4, %tid.y; mad.lo.u32 %t3, %t3, %t1, %t4; mov.u32 %t4, %tid.x;\n\
         mad.lo.u32 %t3, %t3, %t0, %t4; mul.lo.u32 %t1, %t1, %t0; mul.lo.u32 %t1, %t1, %t2;\n\
         mov.u32 %t4, %ctaid.x; mad.lo.u32 %t3, %t4, %t1, %t3;\n\
         mul.wide.u32 %own, %t3, 108; add.s64 %own, %own, %out;\n\
         mad.lo.u32 %x, %t3, 2654435761, 77; mov.u32 %sum, 0; mov.u32 %round, 0;\n$again:\n\
         mad.lo.u32 %x, %x, 1664525, 1013904223;\nshl.b32 %y, %x, 13; xor.b32 %y, %y, %x;\n\
         mov.b32 %f0, %x; mov.b32 %f1, %y; mul.f32 %f2, %f0, %f1;\n",
    );
    let operations = [
        "ex2.approx.f32 %f3, %f0",
        "ex2.approx.ftz.f32 %f3, %f1",
        "lg2.approx.f32 %f3, %f0",
        "lg2.approx.ftz.f32 %f3, %f1",
        "tanh.approx.f32 %f3, %f0",
        "fma.rz.f32 %f3, %f0, %f1, %f2",
        "fma.rm.f32 %f3, %f1, %f1, %f0",
        "fma.rp.ftz.f32 %f3, %f0, 0f3F000001, %f1",
        "fma.rm.sat.f32 %f3, %f0, %f0, %f1",
        "add.rm.f32 %f3, %f0, %f2",
        "sub.rp.f32 %f3, %f0, %f2",
        "sub.rm.f32 %f3, %f0, %f0",
        "mul.rz.ftz.f32 %f3, %f0, 0f3F000001",
        "mul.rp.f32 %f3, %f1, %f1",
        "div.rm.f32 %f3, %f0, %f1",
        "div.rz.f32 %f3, %f1, %f2",
    ];
    for operation in operations {
        let _ = writeln!(text, "{operation}; mov.b32 %t4, %f3; mad.lo.u32 %sum, %sum, 31, %t4;");
    }
    text + "add.u32 %round, %round, 1; setp.lt.u32 %p, %round, 500; @%p bra $again;\n\
            st.global.u32 [%own], %sum;\nret;\n}\n"
}

#[test]
fn approximations_and_directed_roundings_are_those_of_the_interpreter() {
    if let Some(report) = difference(&kernel(), BLOCKS[0]) {
        panic!("{report}");
    }
}
