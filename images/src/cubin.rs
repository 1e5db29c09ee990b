//! Parameter layouts in cubins: 64-bit ELF files with a section `.nv.info.KERNEL` for each kernel.
//!
//! Such a section is a list of records {format u8, attribute u8}, followed by a value: formats 1 to 3 have up
//! to two bytes, padded to two; format 4 has a size u16 and that many bytes. Of the attributes three tell the
//! layout: 0x17, one a parameter, {u32, ordinal u16, offset u16, u32 with the size from bit 18 on}; 0x45, the
//! same for blocks beyond 4 KiB, {u32, ordinal u16, offset u16, size u16, u16}; and 0x19, the block's size.
//! (The format has no public description; this is what `ptxas` 12 and 13 write, for compute capability 7.5 to
//! 12.0, of kernels whose parameters are known.)

use vgpu_protocol::ParamInfo;

use crate::bytes::{range, split, u16_at, u32_at, u64_at, until_nul};
use crate::PARAMS_MAX;

/// How an ELF file starts.
pub(crate) const MAGIC: &[u8] = b"\x7fELF";

/// `e_ident[EI_CLASS]` of 64-bit files, and its place.
const CLASS_64: Option<&u8> = Some(&2);
const CLASS: usize = 4;
/// `sh_type` of what describes a kernel.
const SHT_CUDA_INFO: u32 = 0x7000_0000;
const SECTION_HEADER: u64 = 64;
/// A number that does not fit the file's header lies in the first section's.
const SHN_XINDEX: u16 = 0xffff;
const INFO_PREFIX: &[u8] = b".nv.info.";

const FORMAT_BYTES: u8 = 4;
const PARAM: u8 = 0x17;
const PARAM_OF_LARGE_BLOCK: u8 = 0x45;
const BLOCK_SIZE: u8 = 0x19;
/// Blocks may end with padding; their alignment is at most that of the largest type.
const PADDING_MAX: u32 = 15;

struct Section<'a> {
    header: &'a [u8],
}

impl<'a> Section<'a> {
    fn kind(&self) -> Option<u32> {
        u32_at(self.header, 4)
    }

    fn name<'s>(&self, strings: &'s [u8]) -> Option<&'s [u8]> {
        let start = u32_at(self.header, 0)?;
        strings.get(start as usize..).map(until_nul)
    }

    fn bytes(&self, elf: &'a [u8]) -> Option<&'a [u8]> {
        range(elf, u64_at(self.header, 0x18)?, u64_at(self.header, 0x20)?)
    }
}

/// Tells each kernel of a cubin with its parameters, `None` if these cannot be read.
pub(crate) fn kernels(elf: &[u8], tell: &mut impl FnMut(&[u8], Option<Vec<ParamInfo>>)) {
    let Some((sections, strings)) = sections(elf) else { return };
    for header in sections.chunks_exact(SECTION_HEADER as usize) {
        let section = Section { header };
        if section.kind() != Some(SHT_CUDA_INFO) {
            continue;
        }
        let kernel = section.name(strings).and_then(|name| name.strip_prefix(INFO_PREFIX));
        if let Some(kernel) = kernel {
            tell(kernel, section.bytes(elf).and_then(parameters));
        }
    }
}

/// The table of section headers, and the section with their names.
fn sections(elf: &[u8]) -> Option<(&[u8], &[u8])> {
    if elf.get(CLASS) != CLASS_64 || u64::from(u16_at(elf, 0x3a)?) != SECTION_HEADER {
        return None;
    }
    let table = split(elf, u64_at(elf, 0x28)?)?.1;
    let count = match u16_at(elf, 0x3c)? {
        0 => u64_at(table, 0x20)?,
        count => count.into(),
    };
    let names = match u16_at(elf, 0x3e)? {
        SHN_XINDEX => u32_at(table, 0x28)?,
        names => names.into(),
    };
    let table = split(table, count.checked_mul(SECTION_HEADER)?)?.0;
    let names = Section { header: range(table, u64::from(names) * SECTION_HEADER, SECTION_HEADER)? };
    Some((table, names.bytes(elf)?))
}

/// The parameters in a kernel's section, if they make a whole block.
fn parameters(mut info: &[u8]) -> Option<Vec<ParamInfo>> {
    let mut found = Vec::new();
    let mut block = 0u32;
    while !info.is_empty() {
        let (head, rest) = split(info, 4)?;
        let [format, attribute, value @ ..] = *head.first_chunk::<4>()?;
        let value = u16::from_le_bytes(value);
        info = rest;
        if format != FORMAT_BYTES {
            if attribute == BLOCK_SIZE {
                block = value.into();
            }
            continue;
        }
        let (value, rest) = split(info, value.into())?;
        info = rest;
        let size = match attribute {
            PARAM => u32_at(value, 8)? >> 18,
            PARAM_OF_LARGE_BLOCK => u16_at(value, 8)?.into(),
            _ => continue,
        };
        let param = ParamInfo { offset: u16_at(value, 6)?.into(), size };
        found.push((u16_at(value, 4)?, param));
    }
    found.sort_unstable_by_key(|(ordinal, _)| *ordinal);
    let mut end = 0;
    for (place, (ordinal, param)) in found.iter().enumerate() {
        if usize::from(*ordinal) != place || param.offset < end {
            return None;
        }
        end = param.offset.checked_add(param.size)?;
    }
    let whole = block.checked_sub(end).is_some_and(|padding| padding <= PADDING_MAX) && block <= PARAMS_MAX;
    whole.then(|| found.into_iter().map(|(_, param)| param).collect())
}
