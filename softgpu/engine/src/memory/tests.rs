use super::*;
use std::sync::atomic::Ordering::SeqCst;

const MIB: u64 = 1 << 20;

fn memory() -> Arc<Memory> {
    Memory::new(64 * MIB).unwrap()
}

#[test]
fn allocations_are_zeroed_aligned_and_readable() {
    let m = memory();
    let a = m.allocate(1000).unwrap();
    assert_eq!(a % GRANULE, 0);
    m.write(a, &[7; 1000]).unwrap();
    let mut back = [0; 1000];
    m.read(a, &mut back).unwrap();
    assert_eq!(back, [7; 1000]);
    m.free(a).unwrap();
    let b = m.allocate(1000).unwrap();
    m.read(b, &mut back).unwrap();
    assert_eq!(back, [0; 1000]);
}

#[test]
fn freed_memory_is_not_accessible() {
    let m = memory();
    let a = m.allocate(3 * MIB).unwrap();
    m.write(a + MIB, &[1]).unwrap();
    m.free(a).unwrap();
    assert_eq!(m.write(a + MIB, &[1]), Err(AccessError::Illegal(a + MIB)));
    assert_eq!(m.pin().load::<u32>(a), Err(AccessError::Illegal(a)));
    assert_eq!(m.free(a), Err(MemoryError::InvalidValue));
}

#[test]
fn quota_is_kept_and_returned() {
    let m = memory();
    assert_eq!(m.allocate(65 * MIB), Err(MemoryError::OutOfMemory));
    assert_eq!(m.allocate(u64::MAX), Err(MemoryError::OutOfMemory));
    assert_eq!(m.allocate(0), Err(MemoryError::InvalidValue));
    let all = m.allocate(64 * MIB).unwrap();
    assert_eq!(m.info(), Info { free: 0, total: 64 * MIB });
    assert_eq!(m.allocate(1), Err(MemoryError::OutOfMemory));
    m.free(all).unwrap();
    assert_eq!(m.info().free, 64 * MIB);
}

#[test]
fn range_of_finds_the_allocation() {
    let m = memory();
    let a = m.allocate(100).unwrap();
    assert_eq!(m.range_of(a + 99), Some(Range { base: a, size: 100 }));
    assert_eq!(m.range_of(a + 100), None);
    assert_eq!(m.range_of(0), None);
    assert!(m.is_device_address(a) && !m.is_device_address(0));
}

#[test]
fn accesses_off_the_end_name_the_first_bad_byte() {
    let m = memory();
    let a = m.allocate(GRANULE).unwrap();
    let mut bytes = vec![0; 2 * GRANULE as usize];
    assert_eq!(m.read(a, &mut bytes), Err(AccessError::Illegal(a + GRANULE)));
    assert_eq!(m.check(u64::MAX, 2), Err(AccessError::Illegal(u64::MAX)));
    assert_eq!(m.pin().load_row(a + GRANULE - 8, &mut [0u64; 32]), Err(AccessError::Illegal(a + GRANULE + 240)));
}

#[test]
fn misaligned_words_are_refused() {
    let m = memory();
    let a = m.allocate(64).unwrap();
    assert_eq!(m.pin().load::<u32>(a + 2), Err(AccessError::Misaligned(a + 2)));
    assert!(m.pin().atomic_u64(a + 4).is_err());
    assert!(m.pin().load::<u32>(a + 4).is_ok());
}

#[test]
fn windows_are_accessible_at_equal_addresses_until_removed() {
    let m = memory();
    let mut host = vec![0u32; 256];
    let base = host.as_mut_ptr().expose_provenance() as u64;
    // SAFETY: `host` outlives the window.
    unsafe { m.add_window(base, 1024) }.unwrap();
    // SAFETY: as above; this one is refused.
    assert_eq!(unsafe { m.add_window(base + 512, 1024) }, Err(MemoryError::InvalidValue));
    m.pin().store(base + 4, 5u32).unwrap();
    m.pin().atomic_u32(base + 4).unwrap().fetch_add(1, SeqCst);
    assert_eq!(m.pin().load::<u32>(base + 1024), Err(AccessError::Illegal(base + 1024)));
    assert_eq!(m.window_of(base + 1023), Some(Range { base, size: 1024 }));
    m.remove_window(base).unwrap();
    assert!(m.pin().load::<u32>(base + 4).is_err());
    assert_eq!(host[1], 6);
}

#[test]
fn fill_and_overlapping_copy() {
    let m = memory();
    let a = m.allocate(64).unwrap();
    m.fill(a, 0x0102_0304u32, 4).unwrap();
    m.copy(a + 1, a, 8).unwrap();
    let mut back = [0; 9];
    m.read(a, &mut back).unwrap();
    assert_eq!(back, [4, 4, 3, 2, 1, 4, 3, 2, 1]);
    assert_eq!(m.fill(a + 1, 0u16, 1), Err(AccessError::Misaligned(a + 1)));
    assert!(m.fill(a, 0u32, u64::MAX).is_err());
}

#[test]
fn space_is_reused_after_scattered_frees() {
    let m = memory();
    for _ in 0..100 {
        let held: Vec<u64> = (1..100).map(|i| m.allocate(i * 3000).unwrap()).collect();
        for a in held.iter().step_by(2).chain(held.iter().skip(1).step_by(2)) {
            m.free(*a).unwrap();
        }
    }
    assert_eq!(m.info().free, 64 * MIB);
    m.allocate(64 * MIB).unwrap();
}

#[test]
fn hostile_addresses_are_refused_by_every_access() {
    let m = memory();
    let a = m.allocate(MIB).unwrap();
    let stack = 0u64;
    let host = std::ptr::from_ref(&stack).expose_provenance() as u64;
    let mut seed = 1u64;
    let random = std::iter::repeat_with(|| {
        seed = seed.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        seed
    });
    let edges = [0, 1, 8, host, a - 8, a + MIB, u64::MAX - 7, u64::MAX, 1 << 47, 1 << 63];
    for address in edges.into_iter().chain(random.take(1000)) {
        let pinned = m.pin();
        assert!(pinned.load::<u64>(address).is_err());
        assert!(pinned.store(address, 1u8).is_err());
        assert!(pinned.load_row(address, &mut [0u32; 32]).is_err());
        assert!(pinned.store_row(address, &[1u8; 32]).is_err());
        assert!(pinned.atomic_u32(address).is_err());
        assert!(pinned.write(address, &[1; 9]).is_err());
        assert!(pinned.copy(address, a, 9).is_err());
    }
    assert_eq!(stack, 0);
}
