//! What this session shares with the other sessions of the VM: tokens, which the supervisor keeps, for what
//! the driver knows by handles and descriptors.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, OnceLock};

use vgpu_protocol::cuda::{CUresult, IpcToken, IPC_HANDLE_SIZE};

use super::context::Failure;
use super::quotas::{Pace, Totals};
use super::session::lock;
use crate::exchange::{Exchange, Kind, Shared};
use crate::{args, carrier};

/// By kind and address or handle: what the driver called it, and the token.
type Exports = HashMap<(Kind, u64), ([u8; IPC_HANDLE_SIZE], IpcToken)>;

/// The session's part.
pub struct Sharing {
    exchange: Arc<Exchange>,
    /// What it has of what all sessions of the VM may have together.
    pub totals: Arc<Totals>,
    vm_launch_rate: Option<u32>,
    /// What has a token.
    exports: Mutex<Exports>,
}

static ASKED: OnceLock<Arc<Exchange>> = OnceLock::new();

/// Whether another worker lives. A process serves one session, so there is one to be asked.
extern "C" fn lives(process: u32) -> i32 {
    ASKED.get().is_none_or(|exchange| exchange.lives(process)).into()
}

impl Sharing {
    /// `exchange` asks the supervisor, `limits` says for what.
    pub fn new(exchange: Exchange, limits: args::Totals) -> Sharing {
        let exchange = Arc::new(exchange);
        let totals = Arc::new(Totals::new(limits, exchange.clone()));
        let _ = ASKED.set(exchange.clone());
        carrier::set_liveness(lives);
        Sharing { exchange, totals, vm_launch_rate: limits.vm_launch_rate, exports: Mutex::default() }
    }

    /// The pace of a session that may make so many launches a second.
    pub fn pace(&self, launch_rate: Option<u32>) -> Pace {
        Pace::new(launch_rate, self.vm_launch_rate, self.exchange.clone())
    }

    /// The token of what the driver calls `handle`; the same as long as that does not change.
    pub fn export(&self, kind: Kind, key: u64, shared: Shared) -> Result<IpcToken, Failure> {
        let mut exports = lock(&self.exports);
        match exports.get(&(kind, key)) {
            Some((handle, token)) if *handle == shared.handle => return Ok(*token),
            Some((_, token)) => self.exchange.forget(*token),
            None => {}
        }
        exports.remove(&(kind, key));
        let token = self.exchange.export(kind, &shared).ok_or_else(|| {
            log::warn!("the session shares too much with others");
            Failure::Cuda(CUresult::OUT_OF_MEMORY)
        })?;
        exports.insert((kind, key), (shared.handle, token));
        Ok(token)
    }

    /// As [`Sharing::export`], with the descriptor that goes with the handle, if one does.
    pub fn export_handle(&self, kind: Kind, key: u64, handle: [u8; IPC_HANDLE_SIZE]) -> Result<IpcToken, Failure> {
        self.export(kind, key, Shared { handle, descriptor: carrier::descriptor(&handle) })
    }

    /// What a token stands for.
    pub fn import(&self, kind: Kind, token: IpcToken) -> Option<Shared> {
        self.exchange.import(kind, token)
    }

    /// As [`Sharing::import`]: calls `open` with the driver's handle.
    pub fn import_handle<T>(
        &self,
        kind: Kind,
        token: IpcToken,
        unknown: CUresult,
        open: impl FnOnce([u8; IPC_HANDLE_SIZE]) -> Result<T, Failure>,
    ) -> Result<T, Failure> {
        let Shared { handle, descriptor } = self.import(kind, token).ok_or(Failure::Cuda(unknown))?;
        match &descriptor {
            Some(descriptor) => open(carrier::relocate(handle, descriptor)),
            None => open(handle),
        }
    }

    /// What was shared under this key is no more.
    pub fn forget(&self, key: u64) {
        let mut exports = lock(&self.exports);
        for kind in [Kind::Memory, Kind::Event, Kind::PoolPointer] {
            if let Some((_, token)) = exports.remove(&(kind, key)) {
                self.exchange.forget(token);
            }
        }
    }
}
