//! How much a session may have of what costs the host something besides the GPU's memory.

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Instant;

use vgpu_protocol::cuda::CUresult;
use vgpu_protocol::HandleKind;

use super::context::Failure;
use super::session::{lock, Session};
use crate::args::Quotas;
use crate::exchange::{launches_in_portion, Amounts, Exchange, Resource};
use crate::rate::Rate;

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

/// What the session has of the resources of which the VM's sessions may have so much together. The supervisor is told
/// of more before there is more, and of less some time after.
pub struct Totals {
    limits: crate::args::Totals,
    exchange: Arc<Exchange>,
    told: Mutex<Amounts<Told>>,
}

/// What the supervisor knows of a resource.
#[derive(Clone, Copy, Debug, Default)]
struct Told {
    amount: u64,
    /// More was asked for since the last look: it may not be there yet.
    growing: bool,
}

impl Totals {
    /// Nothing yet.
    pub fn new(limits: crate::args::Totals, exchange: Arc<Exchange>) -> Totals {
        Totals { limits, exchange, told: Mutex::default() }
    }

    /// Whether the session may have that much; it is about to.
    pub fn may_have(&self, resource: Resource, amount: impl FnOnce() -> u64) -> bool {
        if !self.limits.limits(resource) {
            return true;
        }
        // Asked for without our lock: who counts has one, too.
        let amount = amount();
        let mut told = lock(&self.told);
        let Some(told) = told.get_mut(resource as usize) else { return false };
        told.growing = true;
        if amount > told.amount {
            if !self.exchange.have(resource, amount) {
                log::warn!("the VM's sessions have used up their quota: {resource:?}");
                return false;
            }
            told.amount = amount;
        }
        true
    }

    /// Tells the supervisor what the session has by now.
    pub fn settle(&self, resource: Resource, amount: impl FnOnce() -> u64) {
        if !self.limits.limits(resource) {
            return;
        }
        let amount = amount();
        let mut told = lock(&self.told);
        let Some(told) = told.get_mut(resource as usize) else { return };
        let growing = std::mem::take(&mut told.growing);
        if !growing && amount != told.amount && self.exchange.have(resource, amount) {
            told.amount = amount;
        }
    }
}

/// Keeps launches to the rates of the session and of its VM.
pub struct Pace {
    session: Option<Rate>,
    vm: Option<Portions>,
}

/// Launches of the VM that this session may make.
struct Portions {
    exchange: Arc<Exchange>,
    size: u32,
    left: AtomicU32,
}

impl Portions {
    /// Waits until there is one, which is then taken. The supervisor lets a portion wait for its time.
    fn take(&self) {
        if self.left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1)).is_err() {
            self.exchange.await_launches();
            self.left.fetch_add(self.size.saturating_sub(1), Ordering::Relaxed);
        }
    }
}

impl Pace {
    /// At most so many launches a second; `None`: as many as there are.
    pub fn new(session: Option<u32>, vm: Option<u32>, exchange: Arc<Exchange>) -> Pace {
        let left = AtomicU32::new(0);
        let vm = vm.map(|rate| Portions { exchange, size: launches_in_portion(rate), left });
        Pace { session: session.map(Rate::new), vm }
    }

    /// Waits until another launch may be made.
    pub fn wait(&self) {
        if let Some(rate) = &self.session {
            let ahead = rate.take(1, Instant::now());
            if !ahead.is_zero() {
                std::thread::sleep(ahead);
            }
        }
        if let Some(portions) = &self.vm {
            portions.take();
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
        match counted(kind) {
            Some(resource) if !self.sharing.totals.may_have(resource, || self.has(resource).saturating_add(1)) => {
                Err(EXHAUSTED)
            }
            _ => Ok(()),
        }
    }

    /// Refuses an image of `size` bytes beyond the quota.
    pub fn check_image(&self, size: u64) -> Result<(), Failure> {
        match self.ledger.image_bytes().checked_add(size) {
            Some(bytes) if bytes <= self.quotas.module_bytes => {}
            _ => {
                log::warn!("the session has used up its quota of bytes for modules");
                return Err(EXHAUSTED);
            }
        }
        match self.sharing.totals.may_have(Resource::ModuleBytes, || self.ledger.image_bytes().saturating_add(size)) {
            true => Ok(()),
            false => Err(EXHAUSTED),
        }
    }

    /// Gives back to the VM's other sessions what this one has no more.
    pub fn settle(&self) {
        for resource in Resource::ALL {
            self.sharing.totals.settle(resource, || self.has(resource));
        }
    }

    /// What it has of a resource.
    fn has(&self, resource: Resource) -> u64 {
        let count = |kind| u64::from(self.ledger.count(kind));
        match resource {
            Resource::Memory => crate::quota::taken(),
            // The supervisor counts what it maps.
            Resource::Pinned => 0,
            Resource::Contexts => count(HandleKind::Context),
            Resource::Streams => count(HandleKind::Stream) + self.lane_stream_count(),
            Resource::Modules => count(HandleKind::Module) + count(HandleKind::Library),
            Resource::ModuleBytes => self.ledger.image_bytes(),
        }
    }
}

/// What an object of a kind is counted as.
fn counted(kind: HandleKind) -> Option<Resource> {
    match kind {
        HandleKind::Context => Some(Resource::Contexts),
        HandleKind::Stream => Some(Resource::Streams),
        HandleKind::Module | HandleKind::Library => Some(Resource::Modules),
        _ => None,
    }
}
