//! Bits of what counts up over the lanes of a warp, for blocks whose rows do and do not fill warps.

use super::generated::{difference, BLOCKS};
use std::fmt::Write;

/// A kernel that writes shifted, masked and joined indices of its threads.
fn kernel() -> String {
    let mut text = String::from(
        ".version 8.6\n.target sm_80\n.address_size 64\n\
         .visible .entry k(.param .u64 pin, .param .u64 pout, .param .u64 pcounters)\n{\n\
         .reg .b32 %x<8>, %v<3>, %r, %t<4>;\n.reg .b64 %out, %own, %w;\n\
         ld.param.u64 %out, [pout];\ncvta.to.global.u64 %out, %out;\n\
         mov.u32 %t0, %ntid.x; mov.u32 %t1, %ntid.y; mov.u32 %t2, %ntid.z; mov.u32 %x0, %tid.x;\n\
         mov.u32 %t3, %tid.z; mad.lo.u32 %t3, %t3, %t1, 0; mov.u32 %x1, %tid.y; add.u32 %t3, %t3, %x1;\n\
         mad.lo.u32 %x1, %t3, %t0, %x0;\nmul.lo.u32 %t1, %t1, %t0; mul.lo.u32 %t1, %t1, %t2;\n\
         mov.u32 %t3, %ctaid.x; mad.lo.u32 %x2, %t3, %t1, %x1;\nmad.lo.u32 %x3, %t3, %t0, %x0;\n\
         mov.u32 %t2, %laneid; shl.b32 %x4, %t2, 2;\nadd.u32 %x5, %x0, 3;\nmov.u32 %t3, %tid.y; shl.b32 %t3, %t3, 4;\n\
         add.u32 %x6, %t3, %x0;\nmul.lo.u32 %x7, %x0, 12;\nmov.u32 %r, 0;\n",
    );
    let constants =
        [1u32, 3, 4, 5, 7, 12, 15, 16, 28, 31, 60, 63, 64, 127, 0x80, 0xffff_fff0, 0xffff_ffe0, 0x8000_0000];
    let mut count = 0;
    for x in 0..8 {
        for value in constants {
            for op in ["and.b32", "or.b32", "shr.u32", "shr.s32"] {
                if op.starts_with("shr") && value > 31 {
                    continue;
                }
                let _ = writeln!(
                    text,
                    "{op} %v0, %x{x}, {value}; add.u32 %v1, %v0, %x{}; shr.u32 %v2, %v1, 5;\n\
                     mad.lo.u32 %r, %r, 31, %v0; xor.b32 %r, %r, %v1; mad.lo.u32 %r, %r, 17, %v2;",
                    (x + 1) % 8
                );
                count += 1;
            }
        }
        let _ = writeln!(
            text,
            "mul.wide.u32 %own, %x2, 108; add.s64 %own, %own, %out; st.global.u32 [%own+{}], %r;",
            x * 4
        );
    }
    assert!(count > 300);
    text + "ret;\n}\n"
}

#[test]
fn bits_of_indices_are_those_of_each_lane() {
    let source = kernel();
    for block in BLOCKS {
        if let Some(report) = difference(&source, block) {
            panic!("{report}");
        }
    }
}
