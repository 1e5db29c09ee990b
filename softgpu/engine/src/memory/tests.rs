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

#[test]
fn physical_memory_shows_the_same_bytes_at_every_mapping() {
    let m = memory();
    let physical = m.create_physical(2 * MAPPING_UNIT).unwrap();
    assert_eq!(m.info().free, 60 * MIB);
    let base = m.reserve(8 * MAPPING_UNIT, 0, 0).unwrap();
    let (first, second) = (base, base + 4 * MAPPING_UNIT);
    m.map(first, 2 * MAPPING_UNIT, 0, &physical).unwrap();
    m.map(second, MAPPING_UNIT, MAPPING_UNIT, &physical).unwrap();
    assert_eq!(m.pin().store(first, 1u32), Err(AccessError::Illegal(first)), "no access yet");
    m.protect(first, 2 * MAPPING_UNIT, Access::ReadWrite).unwrap();
    m.protect(second, MAPPING_UNIT, Access::Read).unwrap();
    m.pin().store(first + MAPPING_UNIT + 8, 77u32).unwrap();
    assert_eq!(m.pin().load::<u32>(second + 8), Ok(77));
    assert_eq!(m.pin().store(second + 8, 1u32), Err(AccessError::Illegal(second + 8)));
    assert!(m.write(second, &[1]).is_err() && m.pin().atomic_u32(second).is_err());
    assert!(m.copy(first, second, 64).is_ok() && m.copy(second, first, 64).is_err());
    m.unmap(first, 2 * MAPPING_UNIT).unwrap();
    assert_eq!(m.pin().load::<u32>(first), Err(AccessError::Illegal(first)));
    drop(physical);
    assert_eq!(m.pin().load::<u32>(second + 8), Ok(77), "a mapping keeps its memory");
    m.unmap(second, MAPPING_UNIT).unwrap();
    assert_eq!(m.info().free, 64 * MIB);
    m.unreserve(base, 8 * MAPPING_UNIT).unwrap();
    let again = m.create_physical(2 * MAPPING_UNIT).unwrap();
    let base = m.reserve(2 * MAPPING_UNIT, 0, 0).unwrap();
    m.map(base, 2 * MAPPING_UNIT, 0, &again).unwrap();
    m.protect(base, 2 * MAPPING_UNIT, Access::Read).unwrap();
    assert_eq!(m.pin().load::<u32>(base + MAPPING_UNIT + 8), Ok(0), "fresh memory reads as zero");
}

#[test]
fn ranges_may_span_mappings_but_no_gap() {
    let m = memory();
    let base = m.reserve(4 * MAPPING_UNIT, 0, 0).unwrap();
    let parts: Vec<_> = (0..3).map(|_| m.create_physical(MAPPING_UNIT).unwrap()).collect();
    for (i, part) in [0, 1, 3].into_iter().zip(&parts) {
        m.map(base + i * MAPPING_UNIT, MAPPING_UNIT, 0, part).unwrap();
    }
    m.protect(base, 2 * MAPPING_UNIT, Access::ReadWrite).unwrap();
    m.fill(base, 5u32, MAPPING_UNIT / 2).unwrap();
    assert_eq!(m.check(base, 3 * MAPPING_UNIT), Err(AccessError::Illegal(base + 2 * MAPPING_UNIT)));
    assert_eq!(m.protect(base, 3 * MAPPING_UNIT, Access::Read), Err(MemoryError::InvalidValue));
    assert_eq!(m.unmap(base, 4 * MAPPING_UNIT), Err(MemoryError::InvalidValue));
    assert_eq!(m.unmap(base, MAPPING_UNIT / 2), Err(MemoryError::InvalidValue));
    assert_eq!(m.unreserve(base, 4 * MAPPING_UNIT), Err(MemoryError::InvalidValue));
    m.unmap(base, 2 * MAPPING_UNIT).unwrap();
}

#[test]
fn wrong_reservations_and_mappings_are_refused() {
    let m = memory();
    let other = memory();
    let base = m.reserve(4 * MAPPING_UNIT, 1 << 30, 0).unwrap();
    assert_eq!(base % (1 << 30), 0);
    assert_eq!(m.reserve(MAPPING_UNIT, 0, base + (1 << 33)), Ok(base + (1 << 33)), "a wanted address that is free");
    assert_ne!(m.reserve(MAPPING_UNIT, 0, base), Ok(base));
    for (size, alignment) in [(0, 0), (1, 0), (MAPPING_UNIT, 3), (u64::MAX, 0)] {
        assert_eq!(m.reserve(size, alignment, 0), Err(MemoryError::InvalidValue));
    }
    assert_eq!(m.reserve(1 << 50, 0, 0), Err(MemoryError::OutOfMemory));
    assert_eq!(m.create_physical(66 * MIB).err(), Some(MemoryError::OutOfMemory));
    let physical = m.create_physical(2 * MAPPING_UNIT).unwrap();
    let foreign = other.create_physical(MAPPING_UNIT).unwrap();
    let bad = Err(MemoryError::InvalidValue);
    assert_eq!(m.map(base, MAPPING_UNIT, 0, &foreign), bad);
    for (address, size, offset) in [
        (base, 0, 0),
        (base, 4 * MAPPING_UNIT, 0),
        (base, 2 * MAPPING_UNIT, MAPPING_UNIT),
        (base + 1, MAPPING_UNIT, 0),
        (base, MAPPING_UNIT, 1),
        (base + 3 * MAPPING_UNIT, 2 * MAPPING_UNIT, 0),
        (base - MAPPING_UNIT, MAPPING_UNIT, 0),
        (u64::MAX - MAPPING_UNIT + 1, MAPPING_UNIT, 0),
        (0, MAPPING_UNIT, 0),
    ] {
        assert_eq!(m.map(address, size, offset, &physical), bad, "{address:#x} {size} {offset}");
    }
    m.map(base + MAPPING_UNIT, 2 * MAPPING_UNIT, 0, &physical).unwrap();
    for at in 0..3 {
        assert_eq!(m.map(base + at * MAPPING_UNIT, 2 * MAPPING_UNIT, 0, &physical), bad);
    }
    assert!(m.allocate(MIB).is_ok());
}

#[test]
fn devices_have_quotas_of_their_own_and_reach_each_others_memory_as_allowed() {
    let devices = Memory::several(64 * MIB, 3).unwrap();
    let [a, b, c] = &devices[..] else { panic!("three devices") };
    let reaches = |device: &Memory, address| device.pin().load::<u8>(address).is_ok();
    let all = |address| [a, b, c].map(|device| reaches(device, address));
    let early = b.allocate(60 * MIB).unwrap();
    assert_eq!([a, b].map(|device| device.info().free), [64 * MIB, 4 * MIB]);
    assert_eq!(b.allocate(5 * MIB), Err(MemoryError::OutOfMemory));
    assert_eq!((a.device_of(early + 1), all(early)), (Some(1), [false, true, false]));
    // Copies reach everything.
    a.write(early, &[7]).unwrap();

    a.set_peer(b, true);
    let late = b.allocate(MIB).unwrap();
    assert_eq!((all(early), all(late)), ([true, true, false], [true, true, false]));
    assert_eq!(a.pin().span(early, true), Some((early, 60 * MIB)));
    assert_eq!(c.pin().span(early, false), None);
    assert_eq!(c.pin().read(early, &mut [0]), Err(AccessError::Illegal(early)));
    let (own, shared) = (a.allocate(MIB).unwrap(), b.allocate_for(MIB, DeviceSet::of(2)).unwrap());
    assert_eq!((all(own), all(shared)), ([true, false, false], [false, false, true]), "one way, or as said");
    b.set_reach(shared, DeviceSet::ALL).unwrap();
    a.set_peer(b, false);
    assert_eq!((all(early), all(late), all(shared)), ([false, true, false], [false, true, false], [true; 3]));
    a.free(early).unwrap();
    assert_eq!((b.info().free, all(early)), (62 * MIB, [false; 3]));

    let physical = c.create_physical(MAPPING_UNIT).unwrap();
    let base = a.reserve(MAPPING_UNIT, 0, 0).unwrap();
    b.map(base, MAPPING_UNIT, 0, &physical).unwrap();
    assert_eq!((physical.device(), c.info().free, all(base)), (2, 62 * MIB, [false; 3]));
    a.protect(base, MAPPING_UNIT, Access::Read).unwrap();
    b.protect(base, MAPPING_UNIT, Access::ReadWrite).unwrap();
    assert_eq!(all(base), [true, true, false]);
    assert!(a.pin().store(base, 1u8).is_err() && b.pin().store(base, 1u8).is_ok());
    let mapping = a.mapping_of(base).unwrap();
    assert_eq!([0, 1, 2].map(|device| mapping.access(device)), [Access::Read, Access::ReadWrite, Access::None]);
    a.unmap(base, MAPPING_UNIT).unwrap();
    assert_eq!(all(base), [false; 3]);
    assert!(Memory::several(64 * MIB, 0).is_err() && Memory::several(64 * MIB, DEVICES_MAX + 1).is_err());
}
