//! How much a session may have of what costs the host something besides the GPU's memory.

use std::sync::Mutex;
use std::time::{Duration, Instant};

use vgpu_protocol::cuda::CUresult;
use vgpu_protocol::HandleKind;

use super::context::Failure;
use super::session::{lock, Session};
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

/// Keeps launches to a rate, by the generic cell rate algorithm (ITU-T I.371): up to a tenth of a second's
/// launches may come at once.
pub struct Pace {
    interval: Option<Duration>,
    /// When the next launch would be in step.
    due: Mutex<Option<Instant>>,
}

impl Pace {
    /// At most `rate` launches a second; `None`: as many as there are.
    pub fn new(rate: Option<u32>) -> Pace {
        Pace { interval: rate.map(|rate| Duration::from_secs(1) / rate.max(1)), due: Mutex::default() }
    }

    /// Waits until another launch may be made.
    pub fn wait(&self) {
        const BURST: Duration = Duration::from_millis(100);
        let Some(interval) = self.interval else { return };
        let now = Instant::now();
        let ahead = {
            let mut due = lock(&self.due);
            let step = due.unwrap_or(now).max(now);
            *due = step.checked_add(interval);
            step.saturating_duration_since(now).saturating_sub(BURST)
        };
        if !ahead.is_zero() {
            std::thread::sleep(ahead);
        }
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
