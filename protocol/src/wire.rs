//! Encoding: little-endian, every value padded to 8 bytes, buffers preceded by their length.
//!
//! [`Reader`] never reads outside its slice and [`Writer`] never writes outside: both answer with
//! [`WireError`]. Whatever a `Reader` is given must be private memory, copied once out of the queue.

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};

use zerocopy::{FromBytes, Immutable, IntoBytes};

/// Bytes that do not fit the command they claim to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum WireError {
    /// the data ends inside a value
    #[error("the data ends inside a value")]
    Truncated,
    /// there are bytes behind the last value
    #[error("there are bytes behind the last value")]
    Excess,
    /// a value does not fit its type
    #[error("a value does not fit its type")]
    Range,
    /// the destination is too small
    #[error("the destination is too small")]
    NoSpace,
}

/// `length` rounded up to a multiple of 8.
pub const fn padded(length: usize) -> usize {
    length.next_multiple_of(8)
}

/// An id of one of the session's objects: kind in bits 56..63, generation in 32..55, index in 0..31.
///
/// It is minted by the guest; on the host it only ever selects a ledger entry.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Handle(pub u64);

impl Handle {
    /// The null handle.
    pub const NULL: Handle = Handle(0);

    /// Puts a handle together. Only the low 24 bits of `generation` count.
    pub const fn new(kind: u8, generation: u32, index: u32) -> Handle {
        Handle((kind as u64) << 56 | ((generation & 0xff_ffff) as u64) << 32 | index as u64)
    }

    /// The kind's number, see `HandleKind`.
    pub const fn kind(self) -> u8 {
        (self.0 >> 56) as u8
    }

    /// How often the index had been used when this handle was minted.
    pub const fn generation(self) -> u32 {
        (self.0 >> 32) as u32 & 0xff_ffff
    }

    /// The place in the tables of both sides.
    pub const fn index(self) -> u32 {
        self.0 as u32
    }
}

/// Hashes the few bits in which handles differ: two look-ups are part of every launch. A client that
/// chooses handles that collide slows down nobody but itself.
#[derive(Clone, Copy, Debug, Default)]
pub struct HandleHasher(u64);

impl Hasher for HandleHasher {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        bytes.iter().for_each(|byte| self.write_u64(u64::from(*byte)));
    }

    fn write_u64(&mut self, value: u64) {
        // Fibonacci hashing, with the high bits brought down to where a table looks.
        let mixed = (self.0 ^ value).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        self.0 = mixed ^ mixed >> 32;
    }
}

/// A table whose keys are handles.
pub type HandleMap<K, V> = HashMap<K, V, BuildHasherDefault<HandleHasher>>;

/// Decodes values from a byte slice.
pub struct Reader<'a> {
    rest: &'a [u8],
}

macro_rules! read_integers {
    ($($name:ident)*) => {$(
        #[doc = concat!("Reads a `", stringify!($name), "`.")]
        pub fn $name(&mut self) -> Result<$name, WireError> {
            $name::try_from(self.word()?).map_err(|_| WireError::Range)
        }
    )*};
}

impl<'a> Reader<'a> {
    /// Starts at the beginning of `bytes`.
    pub fn new(bytes: &'a [u8]) -> Self {
        Reader { rest: bytes }
    }

    /// What has not been read yet.
    pub fn rest(&self) -> &'a [u8] {
        self.rest
    }

    fn take(&mut self, length: usize) -> Result<&'a [u8], WireError> {
        let (head, rest) = self.rest.split_at_checked(length).ok_or(WireError::Truncated)?;
        self.rest = rest;
        Ok(head)
    }

    fn word(&mut self) -> Result<u64, WireError> {
        u64::read_from_bytes(self.take(8)?).map_err(|_| WireError::Truncated)
    }

    read_integers!(u8 u16 u32 u64 usize);

    /// Reads an `i32`.
    pub fn i32(&mut self) -> Result<i32, WireError> {
        i32::try_from(self.word()? as i64).map_err(|_| WireError::Range)
    }

    /// Reads an `f32`.
    pub fn f32(&mut self) -> Result<f32, WireError> {
        self.u32().map(f32::from_bits)
    }

    /// Reads a handle.
    pub fn handle(&mut self) -> Result<Handle, WireError> {
        self.word().map(Handle)
    }

    /// Reads a buffer: a length and that many bytes.
    pub fn bytes(&mut self) -> Result<&'a [u8], WireError> {
        let length = self.usize()?;
        let end = length.checked_next_multiple_of(8).ok_or(WireError::Range)?;
        self.take(end)?.get(..length).ok_or(WireError::Truncated)
    }

    /// Reads a plain struct.
    pub fn pod<T: FromBytes>(&mut self) -> Result<T, WireError> {
        let bytes = self.take(padded(size_of::<T>()))?;
        T::read_from_prefix(bytes).map(|(value, _)| value).map_err(|_| WireError::Truncated)
    }

    /// Ends the reading: nothing may be left.
    pub fn finish(&self) -> Result<(), WireError> {
        if self.rest.is_empty() {
            Ok(())
        } else {
            Err(WireError::Excess)
        }
    }
}

/// Encodes values into a byte slice.
pub struct Writer<'a> {
    bytes: &'a mut [u8],
    used: usize,
}

macro_rules! write_integers {
    ($($name:ident)*) => {$(
        #[doc = concat!("Writes a `", stringify!($name), "`.")]
        pub fn $name(&mut self, value: $name) -> Result<(), WireError> {
            self.word(value as u64)
        }
    )*};
}

impl<'a> Writer<'a> {
    /// Starts at the beginning of `bytes`.
    pub fn new(bytes: &'a mut [u8]) -> Self {
        Writer { bytes, used: 0 }
    }

    /// Bytes written so far.
    pub fn used(&self) -> usize {
        self.used
    }

    fn put(&mut self, data: &[u8], room: usize) -> Result<(), WireError> {
        let end = self.used.checked_add(room).ok_or(WireError::NoSpace)?;
        let slot = self.bytes.get_mut(self.used..end).ok_or(WireError::NoSpace)?;
        let (head, tail) = slot.split_at_mut_checked(data.len()).ok_or(WireError::NoSpace)?;
        head.copy_from_slice(data);
        tail.fill(0);
        self.used = end;
        Ok(())
    }

    fn word(&mut self, value: u64) -> Result<(), WireError> {
        self.put(&value.to_le_bytes(), 8)
    }

    write_integers!(u8 u16 u32 u64 usize);

    /// Writes an `i32` (sign-extended).
    pub fn i32(&mut self, value: i32) -> Result<(), WireError> {
        self.word(i64::from(value) as u64)
    }

    /// Writes an `f32`.
    pub fn f32(&mut self, value: f32) -> Result<(), WireError> {
        self.u32(value.to_bits())
    }

    /// Writes a buffer: its length and its bytes.
    pub fn bytes(&mut self, data: &[u8]) -> Result<(), WireError> {
        self.usize(data.len())?;
        self.put(data, padded(data.len()))
    }

    /// Writes a plain struct.
    pub fn pod<T: IntoBytes + Immutable>(&mut self, value: &T) -> Result<(), WireError> {
        self.put(value.as_bytes(), padded(size_of::<T>()))
    }
}

/// A command of the API table.
pub trait Command<'a>: Sized {
    /// Number on the wire.
    const OPCODE: u16;
    /// Name in the API table, for trace lines.
    const NAME: &'static str;
    /// What comes back.
    type Reply: Reply;

    /// Writes the payload.
    fn encode(&self, w: &mut Writer<'_>) -> Result<(), WireError>;
    /// Reads the payload; buffers point into what the reader was given.
    fn decode(r: &mut Reader<'a>) -> Result<Self, WireError>;
    /// Size of the payload, bytes.
    fn size(&self) -> usize;
    /// Largest possible reply, bytes.
    fn reply_capacity(&self) -> usize;
}

/// A command's outputs.
pub trait Reply: Sized {
    /// Writes the outputs.
    fn encode(&self, w: &mut Writer<'_>) -> Result<(), WireError>;
    /// Reads the outputs.
    fn decode(r: &mut Reader<'_>) -> Result<Self, WireError>;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn test_values_come_back_as_written() {
        let mut bytes = [0u8; 64];
        let mut w = Writer::new(&mut bytes);
        w.i32(-5).unwrap();
        w.bytes(b"kernel").unwrap();
        w.f32(1.5).unwrap();
        let used = w.used();
        assert_eq!(used, 8 + 8 + 8 + 8);
        let mut r = Reader::new(&bytes[..used]);
        assert_eq!((r.i32(), r.bytes(), r.f32()), (Ok(-5), Ok(&b"kernel"[..]), Ok(1.5)));
        assert_eq!(r.finish(), Ok(()));
    }

    #[test]
    fn test_hostile_lengths_are_errors() {
        for length in [u64::MAX, u64::MAX - 7, 9, 1 << 40] {
            let mut bytes = length.to_le_bytes().to_vec();
            bytes.extend([0; 8]);
            assert!(Reader::new(&bytes).bytes().is_err(), "length {length}");
        }
        assert_eq!(Reader::new(&u64::MAX.to_le_bytes()).u32(), Err(WireError::Range));
        assert_eq!(Reader::new(&[0; 7]).u64(), Err(WireError::Truncated));
    }

    #[test]
    fn test_writer_stops_at_the_end_of_its_slice() {
        let mut bytes = [0u8; 12];
        let mut w = Writer::new(&mut bytes);
        w.u64(1).unwrap();
        assert_eq!(w.u64(2), Err(WireError::NoSpace));
        assert_eq!(w.used(), 8);
    }

    #[test]
    fn test_handle_parts() {
        let handle = Handle::new(6, 0x1ff_ffff, 77);
        assert_eq!((handle.kind(), handle.generation(), handle.index()), (6, 0xff_ffff, 77));
    }
}
