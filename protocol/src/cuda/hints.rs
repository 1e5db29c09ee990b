//! Hints about managed memory (`cuMemAdvise`, `cuMemPrefetchAsync`) and the questions about them
//! (`cuMemRangeGetAttribute`). Managed memory of this project never moves and everyone can always reach
//! it, so hints change nothing but the answers.

use std::collections::BTreeMap;
use std::ops::Range;

use super::{CUmemLocation, CUresult, LOCATION_DEVICE, LOCATION_HOST, LOCATION_HOST_NUMA, LOCATION_HOST_NUMA_CURRENT};

/// Hints cover whole pages, bytes.
const PAGE: u64 = 4096;
/// `CU_DEVICE_CPU` and `CU_DEVICE_INVALID`.
const CPU: i32 = -1;
const NOWHERE: i32 = -2;

type Result<T = ()> = std::result::Result<T, CUresult>;

/// What is known of one page.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Hint {
    read_mostly: bool,
    preferred: Option<CUmemLocation>,
    /// Devices, or [`CPU`].
    accessed_by: Vec<i32>,
    prefetched: Option<CUmemLocation>,
}

/// The hints of all managed memory. What is not in the map has none.
#[derive(Debug, Default)]
pub struct Hints {
    /// End and hint by start; the ranges do not overlap.
    ranges: BTreeMap<u64, (u64, Hint)>,
}

/// A location as versions before 12.2 name it: a device, or -1 for the host.
pub fn location_of(device: i32) -> CUmemLocation {
    match device {
        CPU => CUmemLocation { kind: LOCATION_HOST, id: 0 },
        id => CUmemLocation { kind: LOCATION_DEVICE, id },
    }
}

fn ordinal(location: Option<CUmemLocation>) -> i32 {
    match location {
        Some(CUmemLocation { kind: LOCATION_DEVICE, id }) => id,
        Some(_) => CPU,
        None => NOWHERE,
    }
}

/// A location where managed memory may be. `device` says whether a device can be named.
fn check(location: CUmemLocation, device: impl Fn(i32) -> Result) -> Result<CUmemLocation> {
    match location.kind {
        LOCATION_DEVICE => device(location.id).map(|()| location),
        LOCATION_HOST | LOCATION_HOST_NUMA_CURRENT => Ok(CUmemLocation { kind: LOCATION_HOST, id: 0 }),
        LOCATION_HOST_NUMA if location.id >= 0 => Ok(location),
        _ => Err(CUresult::INVALID_VALUE),
    }
}

fn pages(start: u64, size: u64) -> Result<Range<u64>> {
    let end = start.checked_add(size).and_then(|end| end.checked_next_multiple_of(PAGE));
    let end = end.filter(|_| size > 0).ok_or(CUresult::INVALID_VALUE)?;
    Ok(start / PAGE * PAGE..end)
}

impl Hints {
    /// `cuMemAdvise` for a range of managed memory. `device` says whether a device can be named.
    pub fn advise(
        &mut self,
        start: u64,
        size: u64,
        advice: i32,
        location: CUmemLocation,
        device: impl Fn(i32) -> Result,
    ) -> Result {
        let range = pages(start, size)?;
        let change: Box<dyn Fn(&mut Hint)> = match advice {
            1 | 2 => Box::new(move |hint| hint.read_mostly = advice == 1),
            3 => {
                let location = check(location, device)?;
                Box::new(move |hint| hint.preferred = Some(location))
            }
            4 => Box::new(|hint| hint.preferred = None),
            5 | 6 => {
                let by = ordinal(Some(check(location, device)?));
                Box::new(move |hint| {
                    hint.accessed_by.retain(|other| *other != by);
                    if advice == 5 {
                        hint.accessed_by.push(by);
                        hint.accessed_by.sort_unstable();
                    }
                })
            }
            _ => return Err(CUresult::INVALID_VALUE),
        };
        self.change(range, change);
        Ok(())
    }

    /// `cuMemPrefetchAsync` for a range of managed memory.
    pub fn prefetch(
        &mut self,
        start: u64,
        size: u64,
        location: CUmemLocation,
        device: impl Fn(i32) -> Result,
    ) -> Result {
        let range = pages(start, size)?;
        let location = check(location, device)?;
        self.change(range, |hint| hint.prefetched = Some(location));
        Ok(())
    }

    /// Forgets a range that has been freed.
    pub fn forget(&mut self, start: u64, size: u64) {
        if let Ok(range) = pages(start, size) {
            self.change(range, |hint| *hint = Hint::default());
        }
    }

    /// `cuMemRangeGetAttribute`: fills `room`, whose size is the caller's.
    pub fn attribute(&self, attribute: i32, start: u64, size: u64, room: &mut [u8]) -> Result {
        let range = pages(start, size)?;
        let hints = self.hints(range);
        let same = |of: fn(&Hint) -> Option<CUmemLocation>| {
            let first = hints.first().and_then(of);
            first.filter(|_| hints.iter().all(|hint| of(hint) == first))
        };
        let preferred = || same(|hint| hint.preferred);
        let prefetched = || same(|hint| hint.prefetched);
        let value = match attribute {
            1 => i32::from(hints.iter().all(|hint| hint.read_mostly)),
            2 => ordinal(preferred()),
            3 => {
                let by_all = |device: &&i32| hints.iter().all(|hint| hint.accessed_by.contains(device));
                let devices = hints.first().map(|hint| hint.accessed_by.as_slice()).unwrap_or_default();
                return fill(room, devices.iter().filter(by_all).copied());
            }
            4 => ordinal(prefetched()),
            5 => preferred().map_or(0, |location| location.kind),
            6 => preferred().map_or(NOWHERE, |location| location.id),
            7 => prefetched().map_or(0, |location| location.kind),
            8 => prefetched().map_or(NOWHERE, |location| location.id),
            _ => return Err(CUresult::INVALID_VALUE),
        };
        match <&mut [u8; 4]>::try_from(room) {
            Ok(room) => *room = value.to_ne_bytes(),
            Err(_) => return Err(CUresult::INVALID_VALUE),
        }
        Ok(())
    }

    /// The different hints in a range.
    fn hints(&self, range: Range<u64>) -> Vec<Hint> {
        let mut found = Vec::new();
        let mut at = range.start;
        for (start, (end, hint)) in self.touching(&range) {
            if start > at {
                found.push(Hint::default());
            }
            found.push(hint);
            at = end;
        }
        if at < range.end {
            found.push(Hint::default());
        }
        found
    }

    fn touching(&self, range: &Range<u64>) -> Vec<(u64, (u64, Hint))> {
        let before = self.ranges.range(..range.start).next_back().filter(|(_, (end, _))| *end > range.start);
        before.into_iter().chain(self.ranges.range(range.clone())).map(|(start, rest)| (*start, rest.clone())).collect()
    }

    /// Changes the hint of every page in a range.
    fn change(&mut self, range: Range<u64>, change: impl Fn(&mut Hint)) {
        let mut at = range.start;
        for (start, (end, hint)) in self.touching(&range) {
            self.ranges.remove(&start);
            self.put(start..range.start, hint.clone());
            self.put(range.end..end, hint.clone());
            self.put_changed(at..start, Hint::default(), &change);
            self.put_changed(start.max(range.start)..end.min(range.end), hint, &change);
            at = end;
        }
        self.put_changed(at..range.end, Hint::default(), &change);
    }

    fn put_changed(&mut self, range: Range<u64>, mut hint: Hint, change: impl Fn(&mut Hint)) {
        change(&mut hint);
        self.put(range, hint);
    }

    fn put(&mut self, range: Range<u64>, hint: Hint) {
        if range.start < range.end && hint != Hint::default() {
            self.ranges.insert(range.start, (range.end, hint));
        }
    }
}

/// A list of devices in an array of `int`, the rest of which names none.
fn fill(room: &mut [u8], mut devices: impl Iterator<Item = i32>) -> Result {
    if room.is_empty() || !room.len().is_multiple_of(4) {
        return Err(CUresult::INVALID_VALUE);
    }
    for slot in room.chunks_exact_mut(4) {
        slot.copy_from_slice(&devices.next().unwrap_or(NOWHERE).to_ne_bytes());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const BASE: u64 = 1 << 40;

    fn any(_: i32) -> Result {
        Ok(())
    }

    fn ask(hints: &Hints, attribute: i32, start: u64, size: u64) -> i32 {
        let mut room = [0; 4];
        hints.attribute(attribute, start, size, &mut room).unwrap();
        i32::from_ne_bytes(room)
    }

    #[test]
    fn test_hints_are_kept_by_page_and_answered_for_ranges() {
        let mut hints = Hints::default();
        assert_eq!([1, 2, 4].map(|a| ask(&hints, a, BASE, 1)), [0, NOWHERE, NOWHERE]);
        hints.advise(BASE + 100, 4096, 1, location_of(0), any).unwrap();
        assert_eq!(ask(&hints, 1, BASE, 2 * PAGE), 1);
        assert_eq!(ask(&hints, 1, BASE, 2 * PAGE + 1), 0);
        hints.advise(BASE, 16 * PAGE, 3, location_of(0), any).unwrap();
        hints.advise(BASE + 4 * PAGE, PAGE, 3, location_of(CPU), any).unwrap();
        assert_eq!(ask(&hints, 2, BASE, 4 * PAGE), 0);
        assert_eq!(ask(&hints, 2, BASE + 4 * PAGE, 1), CPU);
        assert_eq!(ask(&hints, 2, BASE, 16 * PAGE), NOWHERE);
        assert_eq!(ask(&hints, 5, BASE + 5 * PAGE, 11 * PAGE), LOCATION_DEVICE);
        assert_eq!(ask(&hints, 1, BASE, 2 * PAGE), 1, "other hints stay");
        hints.advise(BASE, 16 * PAGE, 4, location_of(0), any).unwrap();
        hints.advise(BASE, 16 * PAGE, 2, location_of(0), any).unwrap();
        assert!(hints.ranges.is_empty());
    }

    #[test]
    fn test_accessing_devices_are_listed() {
        let mut hints = Hints::default();
        hints.advise(BASE, 2 * PAGE, 5, location_of(0), any).unwrap();
        hints.advise(BASE, PAGE, 5, location_of(CPU), any).unwrap();
        let list = |size: u64, bytes: usize| {
            let mut room = vec![0x55; bytes];
            hints.attribute(3, BASE, size, &mut room).map(|()| room)
        };
        let ints = |values: &[i32]| Ok(values.iter().flat_map(|value| value.to_ne_bytes()).collect::<Vec<u8>>());
        assert_eq!(list(PAGE, 12), ints(&[CPU, 0, NOWHERE]));
        assert_eq!(list(2 * PAGE, 4), ints(&[0]));
        assert_eq!((list(PAGE, 0), list(PAGE, 6)), (Err(CUresult::INVALID_VALUE), Err(CUresult::INVALID_VALUE)));
    }

    #[test]
    fn test_wrong_hints_are_refused_and_freed_ranges_forgotten() {
        let mut hints = Hints::default();
        let none = |_| Err(CUresult::INVALID_DEVICE);
        assert_eq!(hints.advise(BASE, 1, 3, location_of(7), none), Err(CUresult::INVALID_DEVICE));
        assert_eq!(hints.advise(BASE, 1, 9, location_of(0), any), Err(CUresult::INVALID_VALUE));
        assert_eq!(hints.advise(BASE, 0, 1, location_of(0), any), Err(CUresult::INVALID_VALUE));
        assert_eq!(hints.prefetch(u64::MAX, 2, location_of(0), any), Err(CUresult::INVALID_VALUE));
        assert_eq!(hints.attribute(99, BASE, 1, &mut [0; 4]), Err(CUresult::INVALID_VALUE));
        assert_eq!(hints.attribute(1, BASE, 1, &mut [0; 8]), Err(CUresult::INVALID_VALUE));
        hints.prefetch(BASE, 8 * PAGE, location_of(0), any).unwrap();
        assert_eq!([4, 7, 8].map(|a| ask(&hints, a, BASE + 9, 5)), [0, LOCATION_DEVICE, 0]);
        hints.forget(BASE, 8 * PAGE);
        assert!(hints.ranges.is_empty());
    }
}
