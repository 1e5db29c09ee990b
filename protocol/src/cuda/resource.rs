//! Resources of a device that contexts can be given a part of.

use super::CUresult;

/// `CU_DEV_RESOURCE_TYPE_SM`.
const MULTIPROCESSORS: i32 = 1;
/// `CU_DEV_RESOURCE_TYPE_WORKQUEUE_CONFIG` and `CU_DEV_RESOURCE_TYPE_WORKQUEUE`.
const WORK_QUEUES: [i32; 2] = [1000, 10_000];

/// A resource of a device. Drivers keep notes of their own in the padding.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct CUdevResource {
    kind: i32,
    padding: [u32; 23],
    count: u32,
    least_part: u32,
    coscheduled: u32,
    rest: [u32; 7],
    next: u64,
}

const _: () = assert!(size_of::<CUdevResource>() == 144 && std::mem::offset_of!(CUdevResource, count) == 96);

impl CUdevResource {
    /// All of a device's multiprocessors, which cannot be divided: the smallest part is the whole, and none are
    /// promised to be scheduled together.
    ///
    /// # Errors
    /// `NOT_SUPPORTED` for work queues, `INVALID_RESOURCE_TYPE` for what is no resource.
    pub fn whole(kind: i32, multiprocessors: i32) -> Result<Self, CUresult> {
        match kind {
            MULTIPROCESSORS => {
                let count = multiprocessors.unsigned_abs();
                let (padding, rest) = ([0; 23], [0; 7]);
                Ok(CUdevResource { kind, padding, count, least_part: count, coscheduled: 1, rest, next: 0 })
            }
            _ if WORK_QUEUES.contains(&kind) => Err(CUresult::NOT_SUPPORTED),
            _ => Err(CUresult::INVALID_RESOURCE_TYPE),
        }
    }
}
