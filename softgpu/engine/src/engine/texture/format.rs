//! Texels: bits in memory to channels, and back.

use crate::engine::math::round::F16;
use crate::ir::Rounding;
use crate::memory::{AccessError, Pinned};

/// What a channel's bits are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Channel {
    /// An unsigned integer.
    Unsigned,
    /// A signed integer.
    Signed,
    /// An unsigned integer that stands for 0 to 1.
    UnsignedNormalized,
    /// A signed integer that stands for -1 to 1.
    SignedNormalized,
    /// A float of 16 or 32 bits.
    Float,
}

/// What a texel is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Format {
    /// What its channels are.
    pub channel: Channel,
    /// Bytes of a channel: 1, 2 or 4.
    pub channel_bytes: u32,
    /// Channels: 1, 2 or 4.
    pub channels: u32,
}

impl Format {
    /// Bytes of a texel.
    pub fn bytes(self) -> u32 {
        self.channel_bytes * self.channels
    }

    /// Whether texels are floats, given what a sampler says about integers.
    pub(super) fn is_float(self, normalized: bool) -> bool {
        let integer = matches!(self.channel, Channel::Unsigned | Channel::Signed);
        !integer || (normalized && self.channel_bytes < 4)
    }

    /// The channels' bits, zero-extended.
    pub(super) fn load(self, memory: &Pinned<'_>, address: u64) -> Result<[u32; 4], AccessError> {
        let size = u64::from(self.channel_bytes);
        let mut channels = [0; 4];
        for (i, channel) in channels.iter_mut().take(self.channels as usize).enumerate() {
            let address = address.wrapping_add(size * i as u64);
            *channel = match self.channel_bytes {
                1 => u32::from(memory.load::<u8>(address)?),
                2 => u32::from(memory.load::<u16>(address)?),
                _ => memory.load::<u32>(address)?,
            };
        }
        Ok(channels)
    }

    /// Stores the low bits of the channels.
    pub(super) fn store(self, memory: &Pinned<'_>, address: u64, channels: [u32; 4]) -> Result<(), AccessError> {
        let size = u64::from(self.channel_bytes);
        for (i, channel) in channels.iter().take(self.channels as usize).enumerate() {
            let address = address.wrapping_add(size * i as u64);
            match self.channel_bytes {
                1 => memory.store(address, *channel as u8)?,
                2 => memory.store(address, *channel as u16)?,
                _ => memory.store(address, *channel)?,
            }
        }
        Ok(())
    }

    fn bits(self) -> u32 {
        self.channel_bytes * 8
    }

    fn signed(self, bits: u32) -> i32 {
        let unused = 32 - self.bits();
        (bits << unused) as i32 >> unused
    }

    /// A channel as an integer of 32 bits.
    pub(super) fn integer(self, bits: u32) -> u32 {
        match self.channel {
            Channel::Signed | Channel::SignedNormalized => self.signed(bits) as u32,
            _ => bits,
        }
    }

    /// A channel as a float.
    pub(super) fn float(self, bits: u32) -> f32 {
        match self.channel {
            Channel::Float if self.channel_bytes == 2 => F16.widen(bits) as f32,
            Channel::Float => f32::from_bits(bits),
            Channel::Unsigned | Channel::UnsignedNormalized => (f64::from(bits) / self.most(false)) as f32,
            Channel::Signed | Channel::SignedNormalized => {
                (f64::from(self.signed(bits)) / self.most(true)).max(-1.0) as f32
            }
        }
    }

    /// The largest integer.
    fn most(self, signed: bool) -> f64 {
        ((1u64 << (self.bits() - u32::from(signed))) - 1) as f64
    }

    /// The bits of a channel for 32 bits that a formatted store is given: a float where the format
    /// stands for one, else an integer, which is clamped.
    pub(super) fn encode(self, value: u32) -> u32 {
        let float = f64::from(f32::from_bits(value));
        match self.channel {
            Channel::Float if self.channel_bytes == 2 => F16.round(float, Rounding::Rn),
            Channel::Float => value,
            Channel::Unsigned => value.min(self.most(false) as u32),
            Channel::Signed => {
                let most = self.most(true) as i64;
                i64::from(value as i32).clamp(-most - 1, most) as u32
            }
            Channel::UnsignedNormalized => (float.clamp(0.0, 1.0) * self.most(false)).round_ties_even() as u32,
            Channel::SignedNormalized => (float.clamp(-1.0, 1.0) * self.most(true)).round_ties_even() as i32 as u32,
        }
    }

    /// `CL_*` number of the channel's type, as queries give it.
    pub(in crate::engine) fn type_number(self) -> u32 {
        let wide = self.channel_bytes.ilog2();
        match self.channel {
            Channel::SignedNormalized => 0x10d0 + wide,
            Channel::UnsignedNormalized => 0x10d2 + wide,
            Channel::Signed => 0x10d7 + wide,
            Channel::Unsigned => 0x10da + wide,
            Channel::Float => 0x10dd + wide - 1,
        }
    }

    /// `CL_*` number of the channels' order.
    pub(in crate::engine) fn order_number(self) -> u32 {
        match self.channels {
            1 => 0x10b0,
            2 => 0x10b2,
            _ => 0x10b5,
        }
    }
}

/// An sRGB value from 0 to 1, made linear.
pub(super) fn linear_of_srgb(value: f32) -> f32 {
    if value <= 0.04045 {
        value / 12.92
    } else {
        (f64::from(value + 0.055) / 1.055).powf(2.4) as f32
    }
}
