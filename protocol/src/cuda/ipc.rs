//! Handles that one process gives another: 64 bytes that only the driver reads.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// Bytes of a handle (`CU_IPC_HANDLE_SIZE`).
pub const IPC_HANDLE_SIZE: usize = 64;
/// `CU_IPC_MEM_LAZY_ENABLE_PEER_ACCESS`, which every opening has to name.
pub const IPC_LAZY_PEER_ACCESS: u32 = 1;
/// `CU_MEM_HANDLE_TYPE_POSIX_FILE_DESCRIPTOR`, of `CUmemAllocationHandleType`.
pub const HANDLE_TYPE_FILE_DESCRIPTOR: i32 = 1;

/// What stands for memory, an event or a pool of another session: random, so that it cannot be guessed, and
/// known to the backend alone.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct IpcToken {
    /// Random bytes.
    pub bytes: [u8; 32],
}

macro_rules! handles {
    ($($(#[$doc:meta])* $name:ident)*) => {$(
        $(#[$doc])*
        #[repr(C)]
        #[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
        pub struct $name {
            /// What the driver knows it by.
            pub reserved: [u8; IPC_HANDLE_SIZE],
        }
    )*};
}

handles! {
    /// Device memory for another process.
    CUipcMemHandle
    /// An event for another process.
    CUipcEventHandle
    /// Memory of a pool for a process that has imported the pool.
    CUmemPoolPtrExportData
}
