//! What stands for memory, events and pools of other processes: tokens, in handles of 64 bytes and in files.
//!
//! A file descriptor that is exported is a sealed file with the token in it. It can be sent and inherited as
//! any other, and mapping it does no more than mapping that of a real driver: it is not the memory.

use std::collections::HashSet;
use std::ffi::CStr;
use std::os::fd::RawFd;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use vgpu_protocol::cuda::{CUresult, IpcToken, IPC_HANDLE_SIZE};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use crate::sys;

const MAGIC: u64 = u64::from_le_bytes(*b"vgpu-ipc");
/// What /proc says that such a file is.
const FILE_NAME: &CStr = c"cuda-shared";

/// A token as processes pass it on.
#[repr(C)]
#[derive(Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout)]
struct Envelope {
    magic: u64,
    token: IpcToken,
    zeros: [u64; 3],
}

const _: () = assert!(size_of::<Envelope>() == IPC_HANDLE_SIZE);

impl Envelope {
    fn open(self) -> Option<IpcToken> {
        (self.magic == MAGIC && self.zeros == [0; 3]).then_some(self.token)
    }
}

/// A handle with a token.
pub fn to_handle(token: IpcToken) -> [u8; IPC_HANDLE_SIZE] {
    zerocopy::transmute!(Envelope { magic: MAGIC, token, zeros: [0; 3] })
}

/// The token of a handle; `None` if it is none of ours.
pub fn from_handle(handle: [u8; IPC_HANDLE_SIZE]) -> Option<IpcToken> {
    let envelope: Envelope = zerocopy::transmute!(handle);
    envelope.open()
}

/// A new file with a token, for the application to keep.
pub fn to_file(token: IpcToken) -> Result<RawFd, CUresult> {
    sys::sealed_file(FILE_NAME, &to_handle(token)).ok_or(CUresult::OPERATING_SYSTEM)
}

/// The token in a file of the application's; `None` if there is none.
pub fn from_file(fd: RawFd) -> Option<IpcToken> {
    let mut handle = [0; IPC_HANDLE_SIZE];
    sys::read_sealed_file(fd, &mut handle)?;
    from_handle(handle)
}

/// A few of the things that there are, by address or handle, where most processes have none.
#[derive(Default)]
pub struct Few {
    any: AtomicBool,
    keys: Mutex<HashSet<u64>>,
}

impl Few {
    fn keys(&self) -> MutexGuard<'_, HashSet<u64>> {
        self.keys.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds one.
    pub fn add(&self, key: u64) {
        self.keys().insert(key);
        self.any.store(true, Ordering::Release);
    }

    /// Whether this is one.
    pub fn contains(&self, key: u64) -> bool {
        self.any.load(Ordering::Acquire) && self.keys().contains(&key)
    }

    /// Takes one out, if it is one.
    pub fn take(&self, key: u64) -> bool {
        self.any.load(Ordering::Acquire) && self.keys().remove(&key)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::File;
    use std::os::fd::AsRawFd;

    #[test]
    fn test_tokens_travel_in_handles_and_files() {
        let token = IpcToken { bytes: [7; 32] };
        assert_eq!(from_handle(to_handle(token)), Some(token));
        assert_eq!(from_handle([0; IPC_HANDLE_SIZE]), None);
        let mut longer = to_handle(token);
        longer[63] = 1;
        assert_eq!(from_handle(longer), None);
        let file = to_file(token).unwrap();
        assert_eq!(from_file(file), Some(token));
        assert_eq!(from_file(File::open("/dev/null").unwrap().as_raw_fd()), None);
        assert_eq!(from_file(-1), None);
    }

    #[test]
    fn test_what_was_added_is_taken_once() {
        let few = Few::default();
        assert!(!few.take(5) && !few.contains(5));
        few.add(5);
        assert!(few.contains(5) && few.take(5) && !few.take(5));
    }
}
