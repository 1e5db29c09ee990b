//! `f16` to `f32` and back, without branches.

/// The value of the IEEE binary16 in the low half of a word.
#[inline(always)]
pub(in crate::engine) fn from_half(bits: u32) -> f32 {
    let magnitude = (bits & 0x7fff) << 13;
    // Scaling by 2^112 also normalises subnormals; what is not finite keeps its exponent of all ones.
    let value = f32::from_bits(magnitude) * f32::from_bits(0x7780_0000);
    let value = if bits & 0x7c00 == 0x7c00 { magnitude | 0x7f80_0000 } else { value.to_bits() };
    f32::from_bits(value | (bits & 0x8000) << 16)
}

/// The nearest `f16`, ties to even; the canonical NaN for any.
#[inline(always)]
pub(in crate::engine) fn to_half(x: f32) -> u32 {
    /// Difference of the exponent biases, in the mantissa's last place of an `f16`.
    const REBIAS: u32 = 112 << 10;
    /// The smallest normal number, and the least that rounds to infinity.
    const NORMAL: u32 = 113 << 23;
    const OVERFLOW: u32 = 0x477f_f000;
    let (sign, magnitude) = (x.to_bits() >> 16 & 0x8000, x.to_bits() & 0x7fff_ffff);
    let normal = ((magnitude + 0xfff + (magnitude >> 13 & 1)) >> 13).wrapping_sub(REBIAS);
    // Adding a half puts the last place of a subnormal where that of the sum is.
    let subnormal = (f32::from_bits(magnitude) + 0.5).to_bits().wrapping_sub(0x3f00_0000);
    let finite = if magnitude < NORMAL { subnormal } else { normal };
    let large = if magnitude > 0x7f80_0000 { 0x7fff } else { sign | 0x7c00 };
    if magnitude < OVERFLOW {
        sign | finite
    } else {
        large
    }
}

#[cfg(test)]
mod tests {
    use super::super::round::F16;
    use super::*;
    use crate::ir::Rounding;

    #[test]
    fn every_half_is_itself_and_its_neighbourhood_rounds_to_nearest() {
        for bits in 0..1 << 16 {
            let value = from_half(bits);
            let expected = F16.widen(bits);
            assert!(f64::from(value) == expected || value.is_nan() && expected.is_nan(), "{bits:#x}");
            for offset in -3..=3 {
                for step in [1, 0xfff, 0x1000, 0x1001] {
                    let near = f32::from_bits(value.to_bits().wrapping_add_signed(offset * step));
                    assert_eq!(to_half(near), F16.round(near.into(), Rounding::Rn), "{near:e}");
                }
            }
        }
    }
}
