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
            for op in ["and.b32", "or.b32", "xor.b32", "shr.u32", "shr.s32"] {
                if op.starts_with("shr") && value > 31 {
                    continue;
                }
                let _ = writeln!(
                    text,
                    "{op} %v0, %x{x}, {value}; add.u32 %v1, %v0, %x{}; shr.u32 %v2, %v1, 5;\n\
                     mad.lo.u32 %r, %r, 31, %v0; xor.b32 %r, %r, %v1; mad.lo.u32 %r, %r, 17, %v2;\n\
                     brev.b32 %v1, %v0; shr.u32 %v2, %v1, 19; mad.lo.u32 %r, %r, 31, %v1; xor.b32 %r, %r, %v2;",
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

/// A kernel that moves elements of shared and of global memory to and from places that follow from bits of indices.
fn moves() -> String {
    let mut text = String::from(
        ".version 8.6\n.target sm_80\n.address_size 64\n\
         .visible .entry k(.param .u64 pin, .param .u64 pout, .param .u64 pcounters)\n{\n\
         .reg .b32 %t, %r, %n<9>;\n.reg .b64 %in, %out, %own;\n\
         .shared .align 16 .b8 memory[32768]; mov.u32 %n2, memory;\n\
         ld.param.u64 %in, [pin]; cvta.to.global.u64 %in, %in; ld.param.u64 %out, [pout];\n\
         cvta.to.global.u64 %out, %out; mov.u32 %n3, %tid.x; mov.u32 %n0, %ntid.x; mov.u32 %n1, %tid.y;\n\
         mad.lo.u32 %t, %n1, %n0, %n3; mov.u32 %n4, %ntid.y; mul.lo.u32 %n5, %n0, %n4;\n\
         mov.u32 %n6, %ctaid.x; mad.lo.u32 %n7, %n6, %n5, %t; mul.wide.u32 %own, %n7, 108;\n\
         add.s64 %own, %own, %out; mov.u32 %r, 1;\n",
    );
    let patterns = [
        "mov.b32 %i, %t;",
        "shl.b32 %i, %t, 1;",
        "and.b32 %b, %t, 1; shl.b32 %a, %t, 1; sub.u32 %i, %a, %b;",
        "and.b32 %b, %t, 7; shl.b32 %a, %t, 1; sub.u32 %i, %a, %b;",
        "xor.b32 %i, %t, 5;",
        "xor.b32 %i, %t, 31;",
        "and.b32 %i, %t, 6;",
        "shr.u32 %i, %t, 2;",
        "and.b32 %i, %t, 16;",
        "brev.b32 %a, %t; shr.u32 %i, %a, 24;",
        "mul.lo.u32 %i, %t, 3;",
        "shl.b32 %i, %t, 2;",
        "sub.u32 %i, 127, %t;",
        "and.b32 %a, %t, 31; and.b32 %b, %t, 96; shl.b32 %c, %b, 2; or.b32 %i, %a, %c;",
    ];
    for (n, pattern) in patterns.iter().enumerate() {
        let values = "mad.lo.u32 %v0, %t, 77, %r; mad.lo.u32 %v1, %t, 131, %r; xor.b32 %v2, %v0, %v1; \
                      not.b32 %v3, %v0; cvt.u64.u32 %w0, %v0; cvt.u64.u32 %w1, %v1; shl.b64 %w1, %w1, 9;";
        let other = patterns[(n + 5) % patterns.len()];
        let forms = [
            (4, "u32", "%v0", "%u0"),
            (8, "v2.u32", "{%v0, %v1}", "{%u0, %u1}"),
            (16, "v4.u32", "{%v0, %v1, %v2, %v3}", "{%u0, %u1, %u2, %u3}"),
            (8, "u64", "%w1", "%x1"),
            (16, "v2.u64", "{%w0, %w1}", "{%x0, %x1}"),
            (2, "u16", "%v0", "%u0"),
        ];
        // Each form meets each pattern in the one half or the other.
        for (bytes, suffix, ours, theirs) in forms.into_iter().skip(n % 2).step_by(2) {
            // Each has its own registers; where threads write one place, they write the same.
            let _ = writeln!(
                text,
                "{{ .reg .b32 %i, %a, %v<4>, %u<4>, %m<3>; .reg .b64 %w<2>, %x<2>;\n\
                 {values} mov.u32 %u0, 0; mov.u32 %u1, 0; mov.u32 %u2, 0; mov.u32 %u3, 0; mov.u64 %x0, 0; mov.u64 %x1, 0;\n\
                 mul.lo.u32 %m0, %t, {bytes}; add.u32 %m0, %m0, %n2; st.shared.{suffix} [%m0], {ours}; bar.sync 0;\n\
                 {{ .reg .b32 %i, %a, %b, %c, %d<2>; {other} mul.lo.u32 %d0, %i, {bytes}; add.u32 %d1, %d0, %n2;\n\
                 ld.shared.{suffix} {theirs}, [%d1]; }}\n\
                 mad.lo.u32 %r, %r, 31, %u0; mad.lo.u32 %r, %r, 31, %u1; xor.b32 %m1, %u2, %u3; mad.lo.u32 %r, %r, 31, %m1;\n\
                 xor.b64 %x0, %x0, %x1; cvt.u32.u64 %u0, %x0; shr.u64 %x1, %x1, 32; cvt.u32.u64 %u1, %x1;\n\
                 mad.lo.u32 %r, %r, 31, %u0; xor.b32 %r, %r, %u1; bar.sync 0;\n\
                 {{ .reg .b32 %i, %a, %b, %c, %d<2>; .reg .b64 %g, %h; {pattern}\n\
                 mul.lo.u32 %v0, %i, 7; mul.lo.u32 %v1, %i, 9; mul.lo.u32 %v2, %i, 11; mul.lo.u32 %v3, %i, 13;\n\
                 cvt.u64.u32 %w0, %v0; cvt.u64.u32 %w1, %v1; mul.lo.u32 %d0, %i, {bytes}; add.u32 %d1, %d0, %n2;\n\
                 st.shared.{suffix} [%d1+16384], {ours}; mul.wide.u32 %g, %i, 4; add.s64 %h, %g, %in;\n\
                 ld.global.u32 %u0, [%h]; mad.lo.u32 %r, %r, 31, %u0; }}\n\
                 bar.sync 0; xor.b32 %m1, %t, 1; mad.lo.u32 %m2, %m1, {bytes}, %n2; ld.shared.u16 %u1, [%m2+16384];\n\
                 and.b32 %u1, %u1, 65535; mad.lo.u32 %r, %r, 31, %u1; bar.sync 0; }}"
            );
        }
    }
    text + "st.global.u32 [%own], %r;\nret;\n}\n"
}

#[test]
fn elements_at_places_that_follow_from_indices_are_those_of_each_lane() {
    let source = moves();
    for block in [[64, 1, 1], [16, 4, 1], [8, 8, 1]] {
        if let Some(report) = difference(&source, block) {
            panic!("{report}");
        }
    }
}
