//! Finding the end of an image: PTX text, an ELF file (cubin), or a fat binary container. The
//! application passes no length, so the image itself must tell, as for every CUDA driver.

use std::ffi::{c_void, CStr};

use vgpu_protocol::cuda::CUresult;

/// Magic number of the wrapper that nvcc puts around a fat binary.
const WRAPPER_MAGIC: u32 = 0x4662_43b1;
/// Magic number of a fat binary container.
const CONTAINER_MAGIC: u32 = 0xba55_ed50;
const ELF_MAGIC: [u8; 4] = *b"\x7fELF";
/// `sh_type` of a section without bytes in the file.
const SHT_NOBITS: u32 = 8;
const ELF_HEADER: usize = 64;

#[repr(C)]
struct Wrapper {
    magic: u32,
    version: u32,
    data: *const c_void,
}

/// The bytes of the image at `image`.
///
/// # Safety
/// `image` is null or points to a whole image, valid and unchanged during `'a`.
pub unsafe fn bytes<'a>(image: *const c_void) -> Result<&'a [u8], CUresult> {
    if image.is_null() {
        return Err(CUresult::INVALID_VALUE);
    }
    // SAFETY: the smallest image (an empty PTX text and its NUL) may be shorter than four bytes; a
    // magic number without a zero byte among its first three is compared byte by byte.
    let image = unsafe { unwrap(image)? };
    // SAFETY: as the caller says, for the unwrapped image too.
    let length = unsafe { length(image)? };
    // SAFETY: the image says that it is this long.
    Ok(unsafe { std::slice::from_raw_parts(image.cast(), length) })
}

/// Whether the memory at `at` starts with `magic`; reads no byte behind the first difference.
///
/// # Safety
/// `at` points to bytes that end with or after the first one that differs.
unsafe fn starts_with(at: *const c_void, magic: [u8; 4]) -> bool {
    let bytes = at.cast::<u8>();
    // SAFETY: as the caller says; `all` stops at the first difference.
    magic.iter().enumerate().all(|(i, byte)| unsafe { *bytes.add(i) } == *byte)
}

/// # Safety
/// As for [`bytes`].
unsafe fn unwrap(image: *const c_void) -> Result<*const c_void, CUresult> {
    // SAFETY: as the caller says.
    if !unsafe { starts_with(image, WRAPPER_MAGIC.to_le_bytes()) } {
        return Ok(image);
    }
    // SAFETY: the magic number says that this is a wrapper.
    let wrapper = unsafe { image.cast::<Wrapper>().read_unaligned() };
    debug_assert_eq!(wrapper.magic, WRAPPER_MAGIC);
    if wrapper.version == 0 || wrapper.data.is_null() {
        Err(CUresult::INVALID_IMAGE)
    } else {
        Ok(wrapper.data)
    }
}

/// # Safety
/// As for [`bytes`].
unsafe fn length(image: *const c_void) -> Result<usize, CUresult> {
    // SAFETY: as the caller says.
    unsafe {
        if starts_with(image, CONTAINER_MAGIC.to_le_bytes()) {
            container_length(std::slice::from_raw_parts(image.cast(), 16))
        } else if starts_with(image, ELF_MAGIC) {
            let header = std::slice::from_raw_parts(image.cast::<u8>(), ELF_HEADER);
            let (start, size) = section_table(header)?;
            let table = std::slice::from_raw_parts(image.cast::<u8>().add(start), size);
            elf_length(header, table)
        } else {
            Ok(CStr::from_ptr(image.cast()).to_bytes().len())
        }
    }
}

/// Whether an image is a fat binary's container.
pub fn is_container(image: &[u8]) -> bool {
    image.starts_with(&CONTAINER_MAGIC.to_le_bytes())
}

fn field<const N: usize>(bytes: &[u8], at: usize) -> Result<u64, CUresult> {
    let bytes = bytes.get(at..).and_then(|rest| rest.get(..N)).ok_or(CUresult::INVALID_IMAGE)?;
    Ok(bytes.iter().rev().fold(0, |value, byte| value << 8 | u64::from(*byte)))
}

fn sum(parts: &[u64]) -> Result<usize, CUresult> {
    let total = parts.iter().try_fold(0u64, |total, part| total.checked_add(*part));
    total
        .and_then(|total| usize::try_from(total).ok())
        .filter(|total| *total <= isize::MAX as usize)
        .ok_or(CUresult::INVALID_IMAGE)
}

/// Header {magic u32, version u16, header size u16, size u64} and the entries behind it.
fn container_length(header: &[u8]) -> Result<usize, CUresult> {
    sum(&[field::<2>(header, 6)?, field::<8>(header, 8)?])
}

/// Offset and size of the section header table (ELF-64: `e_shoff`, `e_shentsize` * `e_shnum`).
fn section_table(header: &[u8]) -> Result<(usize, usize), CUresult> {
    let size = field::<2>(header, 0x3a)? * field::<2>(header, 0x3c)?;
    Ok((sum(&[field::<8>(header, 0x28)?])?, sum(&[size])?))
}

/// The end of the section headers, the program headers, and the last section.
fn elf_length(header: &[u8], table: &[u8]) -> Result<usize, CUresult> {
    let (start, size) = section_table(header)?;
    let segments = field::<2>(header, 0x36)? * field::<2>(header, 0x38)?;
    let mut end = sum(&[start as u64, size as u64])?.max(sum(&[field::<8>(header, 0x20)?, segments])?).max(ELF_HEADER);
    for section in table.chunks_exact((field::<2>(header, 0x3a)? as usize).max(1)) {
        if field::<4>(section, 4)? != u64::from(SHT_NOBITS) {
            end = end.max(sum(&[field::<8>(section, 0x18)?, field::<8>(section, 0x20)?])?);
        }
    }
    Ok(end)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn container(payload: &[u8]) -> Vec<u8> {
        let mut bytes = CONTAINER_MAGIC.to_le_bytes().to_vec();
        bytes.extend([1, 0, 16, 0]);
        bytes.extend((payload.len() as u64).to_le_bytes());
        bytes.extend(payload);
        bytes
    }

    fn elf(sections: &[(u32, u64, u64)]) -> Vec<u8> {
        let mut bytes = vec![0; ELF_HEADER];
        bytes[..4].copy_from_slice(&ELF_MAGIC);
        bytes[0x28..0x30].copy_from_slice(&64u64.to_le_bytes());
        bytes[0x3a] = 64;
        bytes[0x3c] = sections.len() as u8;
        for (kind, offset, size) in sections {
            let mut section = [0; 64];
            section[4..8].copy_from_slice(&kind.to_le_bytes());
            section[0x18..0x20].copy_from_slice(&offset.to_le_bytes());
            section[0x20..0x28].copy_from_slice(&size.to_le_bytes());
            bytes.extend(section);
        }
        bytes
    }

    fn measure(image: &[u8]) -> Result<usize, CUresult> {
        // SAFETY: the tests' images are whole.
        unsafe { bytes(image.as_ptr().cast()) }.map(<[u8]>::len)
    }

    #[test]
    fn test_each_kind_of_image_tells_its_length() {
        assert_eq!(measure(b".version 7.0\n\0garbage"), Ok(13));
        assert_eq!(measure(&container(b"12345678")), Ok(24));
        let mut image = elf(&[(1, 192, 100), (SHT_NOBITS, 192, 1 << 40)]);
        image.resize(400, 0);
        assert_eq!(measure(&image), Ok(292));
    }

    #[test]
    fn test_wrapper_leads_to_its_container() {
        let container = container(b"12345678");
        let wrapper = Wrapper { magic: WRAPPER_MAGIC, version: 1, data: container.as_ptr().cast() };
        // SAFETY: the wrapper and its container are whole.
        let image = unsafe { bytes((&raw const wrapper).cast()) };
        assert_eq!(image, Ok(&container[..]));
    }

    #[test]
    fn test_impossible_lengths_are_errors() {
        let table = elf(&[(1, u64::MAX, 2)]);
        assert_eq!(elf_length(&table[..64], &table[64..]), Err(CUresult::INVALID_IMAGE));
        let mut huge = container(b"");
        huge[8..16].fill(0xff);
        assert_eq!(container_length(&huge), Err(CUresult::INVALID_IMAGE));
    }
}
