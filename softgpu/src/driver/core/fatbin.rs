//! Fat binaries: the container that nvcc puts PTX and cubins into. Every byte is hostile.
//!
//! Layout (little-endian): container header {magic u32, version u16, header size u16, entries' size
//! u64}; per entry {kind u16, version u16, header size u32, padded payload size u64, compressed size
//! u32 at 16, sm u32 at 28, flags u64 at 40, uncompressed size u64 at 56}, then the payload.

use std::borrow::Cow;
use std::io::Read;

/// First word of a container.
pub(in crate::driver) const MAGIC: u32 = 0xBA55_ED50;
/// Size of a container's fixed header.
pub(in crate::driver) const HEADER: usize = 16;

/// Size of an entry's header in containers of our own, and its version.
const ENTRY_HEADER: usize = 64;
const ENTRY_VERSION: u16 = 0x101;

const KIND_PTX: u16 = 1;
const KIND_CUBIN: u16 = 2;
const FLAG_LZ4: u64 = 1 << 13;
const FLAG_ZSTD: u64 = 1 << 15;
/// No PTX is larger; a claim beyond it is not believed.
const TEXT_MAX: u64 = 1 << 30;

/// Why there is no PTX to take.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum FatbinError {
    #[error("the fat binary is damaged: {0}")]
    Damaged(&'static str),
    #[error("the fat binary holds no PTX for {0}")]
    NoPtx(String),
}

struct Entry<'a> {
    kind: u16,
    sm: u32,
    flags: u64,
    compressed: u64,
    uncompressed: u64,
    payload: &'a [u8],
}

/// Size of a whole container from its fixed header.
pub(in crate::driver) fn container_size(header: &[u8]) -> Option<u64> {
    let size = u64::from(u16_at(header, 6)?).checked_add(u64_at(header, 8)?)?;
    (u32_at(header, 0)? == MAGIC).then_some(size)
}

/// A container with one PTX text, for a device of this capability (times ten) or higher.
pub(super) fn with_ptx(text: &[u8], sm: u32) -> Vec<u8> {
    // A NUL behind the text, and padding to the format's unit.
    let padded = (text.len() + 1).next_multiple_of(8);
    let mut entry = [0; ENTRY_HEADER];
    entry[0..2].copy_from_slice(&KIND_PTX.to_le_bytes());
    entry[2..4].copy_from_slice(&ENTRY_VERSION.to_le_bytes());
    entry[4..8].copy_from_slice(&(ENTRY_HEADER as u32).to_le_bytes());
    entry[8..16].copy_from_slice(&(padded as u64).to_le_bytes());
    entry[28..32].copy_from_slice(&sm.to_le_bytes());
    let mut container = MAGIC.to_le_bytes().to_vec();
    container.extend(1u16.to_le_bytes());
    container.extend((HEADER as u16).to_le_bytes());
    container.extend(((ENTRY_HEADER + padded) as u64).to_le_bytes());
    container.extend(entry);
    container.extend(text);
    container.resize(HEADER + ENTRY_HEADER + padded, 0);
    container
}

/// The PTX with the highest target that a device of this capability (times ten) can run.
pub(super) fn best_ptx(container: &[u8], capability: u32) -> Result<Cow<'_, [u8]>, FatbinError> {
    let entries = entries(container)?;
    let usable = entries.iter().filter(|e| e.kind == KIND_PTX && e.sm <= capability);
    match usable.max_by_key(|e| e.sm) {
        Some(entry) => entry.text(),
        None => Err(FatbinError::NoPtx(describe(&entries, capability))),
    }
}

fn describe(entries: &[Entry<'_>], capability: u32) -> String {
    let found: Vec<String> = entries
        .iter()
        .map(|e| match e.kind {
            KIND_PTX => format!("PTX for sm_{}", e.sm),
            KIND_CUBIN => format!("machine code for sm_{}", e.sm),
            kind => format!("an entry of kind {kind}"),
        })
        .collect();
    let found = if found.is_empty() { "nothing".to_string() } else { found.join(", ") };
    let lowest = entries.iter().filter(|e| e.kind == KIND_PTX).map(|e| e.sm).min();
    let advice = lowest
        .map(|sm| format!(", which the software GPU takes with `--compute-capability {}.{}`", sm / 10, sm % 10))
        .unwrap_or_default();
    format!("compute capability {}.{} or lower, but {found}{advice}", capability / 10, capability % 10)
}

fn entries(container: &[u8]) -> Result<Vec<Entry<'_>>, FatbinError> {
    let damaged = FatbinError::Damaged;
    let header = u16_at(container, 6).ok_or(damaged("its header is cut off"))?;
    let size = u64_at(container, 8).ok_or(damaged("its header is cut off"))?;
    let mut rest = split(container, header.into()).ok_or(damaged("its header is cut off"))?.1;
    rest = split(rest, size).ok_or(damaged("it is shorter than it says"))?.0;
    let mut entries = Vec::new();
    while !rest.is_empty() {
        let (entry, after) = entry(rest).ok_or(damaged("an entry exceeds it"))?;
        entries.push(entry);
        rest = after;
    }
    Ok(entries)
}

fn entry(bytes: &[u8]) -> Option<(Entry<'_>, &[u8])> {
    let header_size = u64::from(u32_at(bytes, 4)?);
    let (header, rest) = split(bytes, header_size)?;
    let (payload, rest) = split(rest, u64_at(header, 8)?)?;
    let entry = Entry {
        kind: u16_at(header, 0)?,
        sm: u32_at(header, 28)?,
        flags: u64_at(header, 40)?,
        compressed: u32_at(header, 16)?.into(),
        uncompressed: u64_at(header, 56)?,
        payload,
    };
    Some((entry, rest))
}

impl<'a> Entry<'a> {
    /// The PTX text, without the padding behind it.
    fn text(&self) -> Result<Cow<'a, [u8]>, FatbinError> {
        let damaged = || FatbinError::Damaged("its PTX cannot be decompressed");
        if self.flags & (FLAG_LZ4 | FLAG_ZSTD) == 0 {
            return Ok(Cow::Borrowed(until_nul(self.payload)));
        }
        let (packed, _) = split(self.payload, self.compressed).ok_or_else(damaged)?;
        if self.uncompressed > TEXT_MAX {
            return Err(damaged());
        }
        let mut text = if self.flags & FLAG_ZSTD != 0 {
            unzstd(packed, self.uncompressed).ok_or_else(damaged)?
        } else {
            unlz4(packed, self.uncompressed).ok_or_else(damaged)?
        };
        text.truncate(until_nul(&text).len());
        Ok(Cow::Owned(text))
    }
}

/// LZ4 blocks grow at most 255-fold, which bounds what a false size can make us allocate.
fn unlz4(packed: &[u8], size: u64) -> Option<Vec<u8>> {
    if size > 255 * packed.len() as u64 + 64 {
        return None;
    }
    lz4_flex::block::decompress(packed, usize::try_from(size).ok()?).ok()
}

fn unzstd(packed: &[u8], size: u64) -> Option<Vec<u8>> {
    let decoder = ruzstd::decoding::StreamingDecoder::new(packed).ok()?;
    let mut text = Vec::new();
    decoder.take(size).read_to_end(&mut text).ok()?;
    Some(text)
}

fn until_nul(bytes: &[u8]) -> &[u8] {
    bytes.split(|byte| *byte == 0).next().unwrap_or_default()
}

fn split(bytes: &[u8], at: u64) -> Option<(&[u8], &[u8])> {
    bytes.split_at_checked(usize::try_from(at).ok()?)
}

fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_le_bytes(*bytes.get(at..)?.first_chunk()?))
}

fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_le_bytes(*bytes.get(at..)?.first_chunk()?))
}

fn u64_at(bytes: &[u8], at: usize) -> Option<u64> {
    Some(u64::from_le_bytes(*bytes.get(at..)?.first_chunk()?))
}
