//! Fat binaries: the container that nvcc puts PTX and cubins into.
//!
//! Layout (little-endian): container header {magic u32, version u16, header size u16, entries' size
//! u64}; per entry {kind u16, version u16, header size u32, padded payload size u64, compressed size
//! u32 at 16, sm u32 at 28, flags u64 at 40, uncompressed size u64 at 56}, then the payload.

use std::borrow::Cow;
use std::io::Read;

use crate::bytes::{split, u16_at, u32_at, u64_at, until_nul};

/// First word of a container.
pub const MAGIC: u32 = 0xBA55_ED50;
/// Size of a container's fixed header.
pub const HEADER: usize = 16;

/// Size of an entry's header in containers of our own, and its version.
const ENTRY_HEADER: usize = 64;
const ENTRY_VERSION: u16 = 0x101;

const KIND_PTX: u16 = 1;
const KIND_CUBIN: u16 = 2;
const FLAG_LZ4: u64 = 1 << 13;
const FLAG_ZSTD: u64 = 1 << 15;

/// What is wrong with a container.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the fat binary is damaged: {0}")]
pub struct Damaged(&'static str);

/// What a member is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// PTX text.
    Ptx,
    /// Machine code, an ELF file.
    Cubin,
    /// Something else, by its number.
    Other(u16),
}

/// An entry of a container.
#[derive(Clone, Debug)]
pub struct Member<'a> {
    kind: u16,
    sm: u32,
    flags: u64,
    compressed: u64,
    uncompressed: u64,
    payload: &'a [u8],
}

/// Size of a whole container from its fixed header.
pub fn container_size(header: &[u8]) -> Option<u64> {
    let size = u64::from(u16_at(header, 6)?).checked_add(u64_at(header, 8)?)?;
    (u32_at(header, 0)? == MAGIC).then_some(size)
}

/// A container with one PTX text, for a device of this capability (times ten) or higher.
pub fn with_ptx(text: &[u8], sm: u32) -> Vec<u8> {
    // A NUL behind the text, and padding to the format's unit.
    let padded = (text.len() + 1).next_multiple_of(8);
    let mut container = MAGIC.to_le_bytes().to_vec();
    container.extend(1u16.to_le_bytes());
    container.extend((HEADER as u16).to_le_bytes());
    container.extend(((ENTRY_HEADER + padded) as u64).to_le_bytes());
    container.extend(KIND_PTX.to_le_bytes());
    container.extend(ENTRY_VERSION.to_le_bytes());
    container.extend((ENTRY_HEADER as u32).to_le_bytes());
    container.extend((padded as u64).to_le_bytes());
    container.resize(HEADER + 28, 0);
    container.extend(sm.to_le_bytes());
    container.resize(HEADER + ENTRY_HEADER, 0);
    container.extend(text);
    container.resize(HEADER + ENTRY_HEADER + padded, 0);
    container
}

/// The members of a container in their order.
pub fn members(container: &[u8]) -> Result<Vec<Member<'_>>, Damaged> {
    let header = u16_at(container, 6).ok_or(Damaged("its header is cut off"))?;
    let size = u64_at(container, 8).ok_or(Damaged("its header is cut off"))?;
    let mut rest = split(container, header.into()).ok_or(Damaged("its header is cut off"))?.1;
    rest = split(rest, size).ok_or(Damaged("it is shorter than it says"))?.0;
    let mut members = Vec::new();
    while !rest.is_empty() {
        let (member, after) = member(rest).ok_or(Damaged("an entry exceeds it"))?;
        members.push(member);
        rest = after;
    }
    Ok(members)
}

fn member(bytes: &[u8]) -> Option<(Member<'_>, &[u8])> {
    let header_size = u64::from(u32_at(bytes, 4)?);
    let (header, rest) = split(bytes, header_size)?;
    let (payload, rest) = split(rest, u64_at(header, 8)?)?;
    let member = Member {
        kind: u16_at(header, 0)?,
        sm: u32_at(header, 28)?,
        flags: u64_at(header, 40)?,
        compressed: u32_at(header, 16)?.into(),
        uncompressed: u64_at(header, 56)?,
        payload,
    };
    Some((member, rest))
}

impl<'a> Member<'a> {
    /// What it is.
    pub fn kind(&self) -> Kind {
        match self.kind {
            KIND_PTX => Kind::Ptx,
            KIND_CUBIN => Kind::Cubin,
            other => Kind::Other(other),
        }
    }

    /// The compute capability that it is for, times ten.
    pub fn sm(&self) -> u32 {
        self.sm
    }

    /// What it holds, unpacked: PTX text without the padding behind it, anything else with it. More than
    /// `most` bytes are not believed.
    pub fn bytes(&self, most: usize) -> Result<Cow<'a, [u8]>, Damaged> {
        let end = |bytes: &[u8]| match self.kind() {
            Kind::Ptx => until_nul(bytes).len(),
            _ => bytes.len(),
        };
        if self.flags & (FLAG_LZ4 | FLAG_ZSTD) == 0 {
            return Ok(Cow::Borrowed(self.payload.get(..end(self.payload)).unwrap_or_default()));
        }
        let mut bytes = self.unpack(most).ok_or(Damaged(match self.kind() {
            Kind::Ptx => "its PTX cannot be decompressed",
            _ => "a member cannot be decompressed",
        }))?;
        bytes.truncate(end(&bytes));
        Ok(Cow::Owned(bytes))
    }

    fn unpack(&self, most: usize) -> Option<Vec<u8>> {
        let (packed, _) = split(self.payload, self.compressed)?;
        let size = usize::try_from(self.uncompressed).ok().filter(|size| *size <= most)?;
        match self.flags & FLAG_ZSTD != 0 {
            true => unzstd(packed, size),
            false => unlz4(packed, size),
        }
    }
}

/// LZ4 blocks grow at most 255-fold, which bounds what a false size can make us allocate.
fn unlz4(packed: &[u8], size: usize) -> Option<Vec<u8>> {
    if size > packed.len().checked_mul(255)?.checked_add(64)? {
        return None;
    }
    lz4_flex::block::decompress(packed, size).ok()
}

fn unzstd(packed: &[u8], size: usize) -> Option<Vec<u8>> {
    let decoder = ruzstd::decoding::StreamingDecoder::new(packed).ok()?;
    let mut bytes = Vec::new();
    decoder.take(size as u64).read_to_end(&mut bytes).ok()?;
    Some(bytes)
}
