//! Floating-point instructions and conversions.

use crate::forms::{check, check_f32, check_f64};

const NAN: u64 = 0x7fff_ffff;

fn bits(x: f32) -> u64 {
    x.to_bits().into()
}

#[test]
fn arithmetic_to_nearest() {
    check_f32("add.f32 %d, %a, %b;", &[(&[1.5, 2.25], 3.75), (&[1e38, 3e38], f32::INFINITY)]);
    check_f32("mul.f32 %d, %a, %b;", &[(&[3.0, -2.0], -6.0)]);
    check_f32(
        "fma.rn.f32 %d, %a, %b, %c;",
        &[(&[1.0 + f32::EPSILON, 1.0 - f32::EPSILON, -1.0], -(f32::EPSILON * f32::EPSILON))],
    );
    check_f32("div.rn.f32 %d, %a, %b;", &[(&[1.0, 3.0], 1.0 / 3.0), (&[1.0, 0.0], f32::INFINITY)]);
    check_f32("sqrt.rn.f32 %d, %a;", &[(&[2.0], 2f32.sqrt())]);
    check_f32("rcp.rn.f32 %d, %a;", &[(&[3.0], 1.0 / 3.0)]);
    check_f64("fma.rn.f64 %d, %a, %b, %c;", &[(&[3.0, 5.0, 0.5], 15.5)]);
    check_f64("div.rn.f64 %d, %a, %b;", &[(&[1.0, 3.0], 1.0 / 3.0)]);
    check_f64("sqrt.rn.f64 %d, %a;", &[(&[2.0], 2f64.sqrt())]);
}

#[test]
fn results_that_are_not_numbers_are_canonical() {
    check(
        32,
        &[32, 32],
        "add.f32 %d, %a, %b;",
        &[(&[0x7fc0_1234, bits(1.0)], NAN), (&[bits(f32::INFINITY), bits(f32::NEG_INFINITY)], NAN)],
    );
    check(32, &[32], "sqrt.rn.f32 %d, %a;", &[(&[bits(-1.0)], NAN)]);
}

#[test]
fn directed_rounding() {
    let third = 1.0f32 / 3.0;
    check_f32("div.rz.f32 %d, %a, %b;", &[(&[1.0, 3.0], third.next_down()), (&[-1.0, 3.0], -third.next_down())]);
    check_f32("div.rp.f32 %d, %a, %b;", &[(&[1.0, 3.0], third), (&[-1.0, 3.0], -third.next_down())]);
    check_f32(
        "add.rm.f32 %d, %a, %b;",
        &[(&[1.0, 1e-20], 1.0), (&[1.0, -1e-20], 1f32.next_down()), (&[1.0, -1.0], -0.0)],
    );
    check_f32("add.rp.f32 %d, %a, %b;", &[(&[1.0, 1e-20], 1f32.next_up()), (&[1.0, -1.0], 0.0)]);
    check_f32("mul.rz.f32 %d, %a, %b;", &[(&[f32::MAX, 2.0], f32::MAX)]);
    check_f32("fma.rp.f32 %d, %a, %b, %c;", &[(&[1.0, 1.0, 1e-30], 1f32.next_up())]);
    check_f32("sqrt.rm.f32 %d, %a;", &[(&[2.0], 2f32.sqrt()), (&[5.0], 5f32.sqrt().next_down()), (&[4.0], 2.0)]);
    check_f32("sqrt.rp.f32 %d, %a;", &[(&[2.0], 2f32.sqrt().next_up()), (&[5.0], 5f32.sqrt()), (&[4.0], 2.0)]);
    check_f64("add.rz.f64 %d, %a, %b;", &[(&[1.0, -1e-30], 1f64.next_down())]);
    check_f64(
        "mul.rp.f64 %d, %a, %b;",
        &[(&[1.0 + f64::EPSILON, 1.0 + f64::EPSILON], (1.0 + 2.0 * f64::EPSILON).next_up())],
    );
    check_f64("fma.rm.f64 %d, %a, %b, %c;", &[(&[1.0, 1.0, -1e-40], 1f64.next_down())]);
    check_f64("sqrt.rp.f64 %d, %a;", &[(&[2.0], 2f64.sqrt()), (&[3.0], 3f64.sqrt().next_up())]);
}

#[test]
fn flushing_and_saturation() {
    let tiny = f32::from_bits(1);
    check_f32("add.ftz.f32 %d, %a, %b;", &[(&[tiny, tiny], 0.0), (&[-tiny, -tiny], -0.0)]);
    check_f32("add.f32 %d, %a, %b;", &[(&[tiny, tiny], f32::from_bits(2))]);
    check_f32("mul.ftz.f32 %d, %a, %b;", &[(&[1e-20, 1e-20], 0.0)]);
    check_f32("add.sat.f32 %d, %a, %b;", &[(&[0.75, 0.75], 1.0), (&[-2.0, 1.0], 0.0), (&[f32::NAN, 1.0], 0.0)]);
    check_f32("fma.rn.ftz.sat.f32 %d, %a, %b, %c;", &[(&[0.5, 0.5, 0.25], 0.5)]);
}

#[test]
fn minimum_and_maximum() {
    check_f32("min.f32 %d, %a, %b;", &[(&[1.0, f32::NAN], 1.0), (&[0.0, -0.0], -0.0), (&[-3.0, 2.0], -3.0)]);
    check_f32("max.f32 %d, %a, %b;", &[(&[f32::NAN, 2.0], 2.0), (&[-0.0, 0.0], 0.0)]);
    check(32, &[32, 32], "max.NaN.f32 %d, %a, %b;", &[(&[NAN, bits(2.0)], NAN)]);
    check_f64("min.f64 %d, %a, %b;", &[(&[0.0, -0.0], -0.0), (&[4.0, 3.0], 3.0)]);
    check_f32("copysign.f32 %d, %a, %b;", &[(&[-1.0, 3.0], -3.0)]);
    check_f32("neg.f32 %d, %a;", &[(&[1.0], -1.0)]);
    check_f32("abs.ftz.f32 %d, %a;", &[(&[-1.0], 1.0), (&[-f32::from_bits(7)], 0.0)]);
}

#[test]
fn comparisons_of_numbers_and_others() {
    let n = u64::from(f32::NAN.to_bits());
    check(1, &[32, 32], "setp.lt.f32 %p, %a, %b;", &[(&[bits(1.0), bits(2.0)], 1), (&[n, bits(2.0)], 0)]);
    check(1, &[32, 32], "setp.geu.f32 %p, %a, %b;", &[(&[bits(1.0), bits(2.0)], 0), (&[n, bits(2.0)], 1)]);
    check(1, &[32, 32], "setp.ne.f32 %p, %a, %b;", &[(&[n, n], 0), (&[bits(1.0), bits(2.0)], 1)]);
    check(1, &[32, 32], "setp.neu.f32 %p, %a, %b;", &[(&[n, n], 1)]);
    check(1, &[32, 32], "setp.num.f32 %p, %a, %b;", &[(&[n, 0], 0), (&[0, 0], 1)]);
    check(1, &[32, 32], "setp.nan.f32 %p, %a, %b;", &[(&[n, 0], 1), (&[0, 0], 0)]);
    check(1, &[32, 32], "setp.eq.f32 %p, %a, %b;", &[(&[0, 0x8000_0000], 1)]);
    check(1, &[32], "testp.subnormal.f32 %p, %a;", &[(&[1], 1), (&[bits(1.0)], 0)]);
    check(1, &[64], "testp.infinite.f64 %p, %a;", &[(&[f64::INFINITY.to_bits()], 1)]);
}

#[test]
fn approximations_are_within_bounds() {
    let near = |text: &str, x: f32, exact: f64, tolerance: f64| {
        let test = format!(
            "{{.reg .f32 %r, %h; mov.b32 %h, {:#x}; {}; sub.f32 %r, %r, %h; abs.f32 %r, %r; \
             setp.le.f32 %p, %r, 0f{:08X};}}",
            (exact as f32).to_bits(),
            text.replace("%d", "%r"),
            (tolerance as f32).to_bits(),
        );
        check(1, &[32], &test, &[(&[bits(x)], 1)]);
    };
    for x in [0.1f32, 0.9, 1.7, 2.9] {
        let exact = f64::from(x);
        near("sin.approx.f32 %d, %a", x, exact.sin(), 2f64.powf(-20.5));
        near("cos.approx.f32 %d, %a", x, exact.cos(), 2f64.powf(-20.5));
        near("lg2.approx.f32 %d, %a", x, exact.log2(), 2f64.powi(-22));
        near("ex2.approx.f32 %d, %a", x, exact.exp2(), exact.exp2() * 2f64.powi(-22));
        near("rsqrt.approx.f32 %d, %a", x, 1.0 / exact.sqrt(), 1.0 / exact.sqrt() * 2f64.powf(-22.4));
        near("tanh.approx.f32 %d, %a", x, exact.tanh(), exact.tanh() * 2f64.powi(-11));
        near("rcp.approx.f32 %d, %a", x, 1.0 / exact, 1.0 / exact * 2f64.powi(-23));
    }
    check(32, &[32], "rsqrt.approx.f32 %d, %a;", &[(&[0], bits(f32::INFINITY)), (&[bits(-1.0)], NAN)]);
    check(32, &[32], "lg2.approx.f32 %d, %a;", &[(&[0], bits(f32::NEG_INFINITY))]);
}

#[test]
fn half_precision() {
    const ONE: u64 = 0x3c00;
    check(
        16,
        &[16, 16],
        "add.f16 %d, %a, %b;",
        &[(&[ONE, ONE], 0x4000), (&[0x7bff, 0x7bff], 0x7c00), (&[ONE, 0x1000], ONE)],
    );
    check(
        16,
        &[16, 16, 16],
        "fma.rn.f16 %d, %a, %b, %c;",
        &[(&[0x3c01, 0x3c01, 0x0001], 0x3c02), (&[ONE, ONE, 0xbc00], 0)],
    );
    check(32, &[32, 32], "mul.f16x2 %d, %a, %b;", &[(&[0x4000_3c00, 0x4200_4000], 0x4600_4000)]);
    check(32, &[32, 32], "add.f16x2 %d, %a, %b;", &[(&[0x3c00_3c00, 0x3c00_4000], 0x4000_4200)]);
    check(16, &[16, 16, 16], "fma.rn.bf16 %d, %a, %b, %c;", &[(&[0x3f80, 0x4000, 0x3f80], 0x4040)]);
    check(16, &[16], "neg.f16 %d, %a;", &[(&[ONE], 0xbc00)]);
    check(1, &[16, 16], "setp.lt.f16 %p, %a, %b;", &[(&[ONE, 0x4000], 1), (&[0x7e00, ONE], 0)]);
    check(16, &[16, 16], "max.f16 %d, %a, %b;", &[(&[0x7e00, ONE], ONE)]);
    check(32, &[16], "cvt.f32.f16 %d, %a;", &[(&[0x3555], 0x3eaa_a000), (&[1], 0x3380_0000), (&[0xfc00], 0xff80_0000)]);
    check(
        16,
        &[32],
        "cvt.rn.f16.f32 %d, %a;",
        &[
            (&[bits(1.0 / 3.0)], 0x3555),
            (&[bits(65520.0)], 0x7c00),
            (&[bits(5.9604645e-8)], 1),
            (&[bits(2.9802322e-8)], 0),
        ],
    );
    check(16, &[32], "cvt.rz.f16.f32 %d, %a;", &[(&[bits(65535.0)], 0x7bff)]);
    check(16, &[32], "cvt.rn.bf16.f32 %d, %a;", &[(&[0x3f80_8000], 0x3f80), (&[0x3f81_8000], 0x3f82)]);
    check(32, &[32, 32], "cvt.rn.f16x2.f32 %d, %a, %b;", &[(&[bits(2.0), bits(1.0)], 0x4000_3c00)]);
    check(32, &[32, 32], "cvt.rn.bf16x2.f32 %d, %a, %b;", &[(&[bits(2.0), bits(1.0)], 0x4000_3f80)]);
    check(16, &[32], "cvt.rn.f16.s32 %d, %a;", &[(&[3], 0x4200), (&[2049], 0x6800), (&[100_000], 0x7c00)]);
    check(32, &[16], "cvt.rzi.s32.f16 %d, %a;", &[(&[0xc100], 0xffff_fffe)]);
}

#[test]
fn conversions_between_floats_and_integers() {
    check(
        32,
        &[32],
        "cvt.rzi.s32.f32 %d, %a;",
        &[(&[bits(-1.9)], 0xffff_ffff), (&[bits(3e9)], 0x7fff_ffff), (&[NAN], 0)],
    );
    check(32, &[32], "cvt.rni.s32.f32 %d, %a;", &[(&[bits(2.5)], 2), (&[bits(3.5)], 4)]);
    check(32, &[32], "cvt.rmi.u32.f32 %d, %a;", &[(&[bits(2.9)], 2), (&[bits(-5.0)], 0)]);
    check(32, &[32], "cvt.rpi.s32.f32 %d, %a;", &[(&[bits(2.1)], 3)]);
    check(64, &[64], "cvt.rzi.s64.f64 %d, %a;", &[(&[(-1e15f64).to_bits()], (-1_000_000_000_000_000i64) as u64)]);
    check(32, &[32], "cvt.rn.f32.s32 %d, %a;", &[(&[0xffff_ffff], bits(-1.0)), (&[16_777_217], bits(16_777_216.0))]);
    check(32, &[32], "cvt.rp.f32.u32 %d, %a;", &[(&[16_777_217], bits(16_777_218.0))]);
    check(32, &[64], "cvt.rz.f32.u64 %d, %a;", &[(&[u64::MAX], bits(1.8446743e19))]);
    check(64, &[64], "cvt.rn.f64.u64 %d, %a;", &[(&[u64::MAX], 1.8446744073709552e19f64.to_bits())]);
    check(64, &[64], "cvt.rm.f64.s64 %d, %a;", &[(&[i64::MAX as u64], 9.223372036854775e18f64.to_bits())]);
    check(32, &[32], "cvt.rni.f32.f32 %d, %a;", &[(&[bits(2.5)], bits(2.0)), (&[bits(-0.3)], bits(-0.0))]);
    check(32, &[64], "cvt.rn.f32.f64 %d, %a;", &[(&[0.1f64.to_bits()], bits(0.1))]);
    check(32, &[64], "cvt.rp.f32.f64 %d, %a;", &[(&[(1.0 + 1e-12f64).to_bits()], bits(1f32.next_up()))]);
    check(64, &[32], "cvt.f64.f32 %d, %a;", &[(&[bits(0.1)], f64::from(0.1f32).to_bits())]);
    check(32, &[32], "cvt.sat.f32.f32 %d, %a;", &[(&[bits(7.0)], bits(1.0))]);
    check(32, &[32], "cvt.rna.tf32.f32 %d, %a;", &[(&[0x3f80_1000], 0x3f80_2000)]);
}
