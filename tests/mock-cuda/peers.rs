//! Peer access: device 0 and 1 reach each other's memory, further devices nobody's.

use std::collections::HashSet;

use vgpu_protocol::cuda::CUresult;

use super::devices;

/// Which contexts have access to the memory of which others.
#[derive(Default)]
pub struct Peers(HashSet<(usize, usize)>);

impl Peers {
    /// `cuCtxEnablePeerAccess` of two contexts on these devices.
    pub fn enable(&mut self, contexts: (usize, usize), devices: (i32, i32)) -> CUresult {
        match () {
            () if !can_access(devices.0, devices.1) => CUresult::PEER_ACCESS_UNSUPPORTED,
            () if self.0.insert(contexts) => CUresult::SUCCESS,
            () => CUresult::PEER_ACCESS_ALREADY_ENABLED,
        }
    }

    /// `cuCtxDisablePeerAccess`.
    pub fn disable(&mut self, contexts: (usize, usize)) -> CUresult {
        match self.0.remove(&contexts) {
            true => CUresult::SUCCESS,
            false => CUresult::PEER_ACCESS_NOT_ENABLED,
        }
    }
}

/// Whether one device reaches the memory of another.
pub fn can_access(device: i32, peer: i32) -> bool {
    device != peer && (0..2).contains(&device) && (0..2).contains(&peer)
}

/// `cuDeviceGetP2PAttribute`: rank 3, and what access gives; of CUDA 13's attribute nothing is known.
pub fn attribute(attribute: i32, device: i32, peer: i32) -> Result<i32, CUresult> {
    if device == peer || devices::find(device).is_none() || devices::find(peer).is_none() {
        return Err(CUresult::INVALID_DEVICE);
    }
    match attribute {
        1 => Ok(3),
        2..=4 => Ok(can_access(device, peer).into()),
        _ => Err(CUresult::INVALID_VALUE),
    }
}
