//! Peer access: which contexts let their kernels reach the memory of which others. What a kernel reaches is decided
//! by its device, so it is what any context of that device may.

use std::sync::{Mutex, MutexGuard, PoisonError};

use vgpu_protocol::cuda::CUresult;

use super::{Context, Result};

/// What was enabled and not disabled.
#[derive(Default)]
pub(super) struct Peers(Mutex<Vec<Pair>>);

#[derive(Clone, Copy, PartialEq, Eq)]
struct Pair {
    /// Handle of the context that has access.
    context: u64,
    /// Handle of the context whose memory it is.
    owner: u64,
    /// Their devices.
    devices: [usize; 2],
}

impl Pair {
    fn new(context: &Context, owner: &Context) -> Pair {
        let devices = [context.device.index(), owner.device.index()];
        Pair { context: context.handle, owner: owner.handle, devices }
    }
}

impl Peers {
    fn lock(&self) -> MutexGuard<'_, Vec<Pair>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Context {
    /// `cuCtxEnablePeerAccess`.
    pub(in crate::driver) fn enable_peer(&self, owner: &Context) -> Result {
        if owner.device.ordinal == self.device.ordinal {
            return Err(CUresult::PEER_ACCESS_UNSUPPORTED);
        }
        let mut pairs = self.driver.peers.lock();
        let pair = Pair::new(self, owner);
        if pairs.contains(&pair) {
            return Err(CUresult::PEER_ACCESS_ALREADY_ENABLED);
        }
        pairs.push(pair);
        self.device.memory.set_peer(&owner.device.memory, true);
        Ok(())
    }

    /// `cuCtxDisablePeerAccess`.
    pub(in crate::driver) fn disable_peer(&self, owner: &Context) -> Result {
        let pair = Pair::new(self, owner);
        match self.end_pairs(|known| *known == pair) {
            0 => Err(CUresult::PEER_ACCESS_NOT_ENABLED),
            _ => Ok(()),
        }
    }

    /// The context ends: what it has enabled, and what others have of it.
    pub(super) fn forget_peers(&self) {
        self.end_pairs(|known| known.context == self.handle || known.owner == self.handle);
    }

    /// Takes the pairs away that are chosen; their number.
    fn end_pairs(&self, chosen: impl Fn(&Pair) -> bool) -> usize {
        let mut pairs = self.driver.peers.lock();
        let (gone, kept): (Vec<Pair>, Vec<Pair>) = pairs.iter().partition(|pair| chosen(pair));
        for [context, owner] in gone.iter().map(|pair| pair.devices) {
            let reaches = kept.iter().any(|pair| pair.devices == [context, owner]);
            if let [Some(device), Some(owner)] = [context, owner].map(|index| self.driver.devices.get(index)) {
                device.memory.set_peer(&owner.memory, reaches);
            }
        }
        *pairs = kept;
        gone.len()
    }
}
