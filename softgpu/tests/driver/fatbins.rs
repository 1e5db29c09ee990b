use crate::kit::*;

/// One entry of a fat binary.
struct Entry<'a> {
    kind: u16,
    sm: u32,
    flags: u64,
    payload: &'a [u8],
    unpacked: usize,
}

fn container(entries: &[Entry]) -> Vec<u8> {
    let mut body = Vec::new();
    for entry in entries {
        let padded = entry.payload.len().next_multiple_of(8);
        let mut header = [0; 64];
        header[0..2].copy_from_slice(&entry.kind.to_le_bytes());
        header[2..4].copy_from_slice(&0x101_u16.to_le_bytes());
        header[4..8].copy_from_slice(&64_u32.to_le_bytes());
        header[8..16].copy_from_slice(&(padded as u64).to_le_bytes());
        header[16..20].copy_from_slice(&(entry.payload.len() as u32).to_le_bytes());
        header[28..32].copy_from_slice(&entry.sm.to_le_bytes());
        header[40..48].copy_from_slice(&entry.flags.to_le_bytes());
        header[56..64].copy_from_slice(&(entry.unpacked as u64).to_le_bytes());
        body.extend_from_slice(&header);
        body.extend_from_slice(entry.payload);
        body.resize(body.len() + padded - entry.payload.len(), 0);
    }
    let mut container = Vec::from(0xBA55_ED50_u32.to_le_bytes());
    container.extend_from_slice(&[1, 0, 16, 0]);
    container.extend_from_slice(&(body.len() as u64).to_le_bytes());
    container.extend_from_slice(&body);
    container
}

fn ptx(sm: u32, flags: u64, payload: &[u8]) -> Entry<'_> {
    Entry { kind: 1, sm, flags, payload, unpacked: KERNELS.len() }
}

fn machine_code(sm: u32) -> Entry<'static> {
    Entry { kind: 2, sm, flags: 0, payload: b"\x7fELF", unpacked: 0 }
}

fn lz4() -> Vec<u8> {
    lz4_flex::block::compress(KERNELS.as_bytes())
}

fn zstd() -> Vec<u8> {
    ruzstd::encoding::compress_to_vec(KERNELS.as_bytes(), ruzstd::encoding::CompressionLevel::Fastest)
}

#[test]
fn every_compression_is_read() {
    let _context = Context::new();
    for (flags, payload) in [(0, KERNELS.as_bytes().to_vec()), (1 << 13, lz4()), (1 << 15, zstd())] {
        let loaded = load(&container(&[machine_code(75), ptx(75, flags, &payload)]));
        assert_eq!(loaded.result, CUresult::SUCCESS, "{flags:#x}: {}", loaded.error);
        function(loaded.module, "vectorAdd");
    }
}

#[test]
fn a_wrapper_leads_to_its_container() {
    let _context = Context::new();
    let container = container(&[ptx(75, 0, KERNELS.as_bytes())]);
    let mut wrapper = [0x1_4662_43b1_u64, container.as_ptr() as u64, 0];
    let mut module = std::ptr::null_mut();
    let null = std::ptr::null_mut::<*mut std::ffi::c_void>();
    ok!(cuModuleLoadDataEx(&mut module, wrapper.as_ptr().cast(), 0, null.cast(), null));
    function(module, "vectorAdd");
    let text = c"text";
    wrapper[1] = text.as_ptr() as u64;
    let result = cu!(cuModuleLoadDataEx(&mut module, wrapper.as_ptr().cast(), 0, null.cast(), null));
    assert_eq!(result, CUresult::INVALID_IMAGE);
}

#[test]
fn the_highest_ptx_that_fits_the_device_is_taken() {
    let _context = Context::new();
    let marked = |name: &str| KERNELS.replace("narrow", name);
    let (low, best, high) = (marked("low"), marked("best"), marked("high"));
    let entries = [ptx(90, 0, high.as_bytes()), ptx(80, 0, best.as_bytes()), ptx(52, 0, low.as_bytes())];
    let loaded = load(&container(&entries));
    assert_eq!(loaded.result, CUresult::SUCCESS, "{}", loaded.error);
    function(loaded.module, "best");
}

#[test]
fn without_fitting_ptx_the_log_says_what_there_is() {
    let _context = Context::new();
    let loaded = load(&container(&[machine_code(86), ptx(90, 0, KERNELS.as_bytes())]));
    assert_eq!(loaded.result, CUresult::NO_BINARY_FOR_GPU);
    for part in ["machine code for sm_86", "PTX for sm_90", "8.0", "code=compute_75"] {
        assert!(loaded.error.contains(part), "{part}: {}", loaded.error);
    }
    assert_eq!(load(&container(&[])).result, CUresult::NO_BINARY_FOR_GPU);
}

/// xorshift64: the tests are the same every time.
fn random(state: &mut u64) -> u64 {
    *state ^= *state << 13;
    *state ^= *state >> 7;
    *state ^= *state << 17;
    *state
}

#[test]
fn damaged_fat_binaries_are_errors() {
    let _context = Context::new();
    let mut state = 0x1234_5678_9abc_def0;
    let mut refused = 0;
    for payload in [lz4(), zstd()] {
        let flags = if payload == lz4() { 1 << 13 } else { 1 << 15 };
        let intact = container(&[machine_code(75), ptx(75, flags, &payload)]);
        for _ in 0..2000 {
            let mut image = intact.clone();
            for _ in 0..=random(&mut state) % 3 {
                // The container's magic and size stay: they say where the image ends.
                let at = 16 + random(&mut state) as usize % (image.len() - 16);
                image[at] = random(&mut state) as u8;
            }
            let loaded = load(&image);
            match loaded.result {
                CUresult::SUCCESS => ok!(cuModuleUnload(loaded.module)),
                error => {
                    assert_ne!(error, CUresult::UNKNOWN);
                    assert!(!loaded.error.is_empty(), "{error}");
                    refused += 1;
                }
            }
        }
    }
    assert!(refused > 1000, "{refused}");
}

#[test]
fn truncated_fat_binaries_are_errors() {
    let _context = Context::new();
    let payload = lz4();
    let intact = container(&[machine_code(75), ptx(75, 1 << 13, &payload)]);
    for len in (16..intact.len()).step_by(7) {
        let mut image = intact[..len].to_vec();
        image[8..16].copy_from_slice(&(len as u64 - 16).to_le_bytes());
        let loaded = load(&image);
        assert!(
            matches!(loaded.result, CUresult::INVALID_IMAGE | CUresult::NO_BINARY_FOR_GPU),
            "{len}: {}",
            loaded.result
        );
    }
}
