//! Events: creation is sent without waiting, so its flags are checked here.

use vgpu_protocol::cuda::{CUevent, CUresult};

use super::Result;
use crate::exports::raw;

const DISABLE_TIMING: u32 = 2;
const INTERPROCESS: u32 = 4;
/// `CU_EVENT_BLOCKING_SYNC` and the two above.
const FLAGS: u32 = 7;

/// An event of several processes has no time.
pub unsafe fn cuEventCreate(out: *mut CUevent, flags: u32) -> Result {
    if flags & !FLAGS != 0 || flags & (INTERPROCESS | DISABLE_TIMING) == INTERPROCESS {
        return Err(CUresult::INVALID_VALUE);
    }
    // SAFETY: as for the caller.
    unsafe { raw::cuEventCreate(out, flags) }
}
