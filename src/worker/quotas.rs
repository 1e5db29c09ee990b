//! How much a session may have of what costs the host something besides the GPU's memory.

use vgpu_protocol::cuda::CUresult;
use vgpu_protocol::HandleKind;

use super::context::Failure;
use super::session::Session;
use crate::args::Quotas;

/// The driver has no room for more, as it says of its own limits.
pub const EXHAUSTED: Failure = Failure::Cuda(CUresult::OUT_OF_MEMORY);

/// The most objects of a kind; `None`: as many as the ledger holds.
fn most(quotas: &Quotas, kind: HandleKind) -> Option<u32> {
    match kind {
        HandleKind::Context => Some(quotas.contexts),
        HandleKind::Stream => Some(quotas.streams),
        HandleKind::Module | HandleKind::Library => Some(quotas.modules),
        _ => None,
    }
}

impl Session {
    /// Refuses another object of a kind beyond the quota.
    pub fn check_room(&self, kind: HandleKind) -> Result<(), Failure> {
        let full = most(&self.quotas, kind).is_some_and(|most| self.ledger.count(kind) >= most);
        if full {
            log::warn!("the session has used up its quota of objects: {kind:?}");
            return Err(EXHAUSTED);
        }
        Ok(())
    }

    /// Refuses an image of `size` bytes beyond the quota.
    pub fn check_image(&self, size: u64) -> Result<(), Failure> {
        match self.ledger.image_bytes().checked_add(size) {
            Some(bytes) if bytes <= self.quotas.module_bytes => Ok(()),
            _ => {
                log::warn!("the session has used up its quota of bytes for modules");
                Err(EXHAUSTED)
            }
        }
    }
}
