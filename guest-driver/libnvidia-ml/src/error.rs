//! `nvmlReturn_t`.

use std::ffi::CStr;

macro_rules! errors {
    ($($name:ident = $code:literal, $text:literal;)*) => {
        /// An NVML error code.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        #[repr(u32)]
        #[allow(missing_docs, dead_code)]
        pub enum Error {
            $($name = $code,)*
        }

        /// The text of a code.
        pub fn describe(code: u32) -> &'static CStr {
            match code {
                0 => c"The operation was successful",
                $($code => $text,)*
                _ => c"Unknown Error code",
            }
        }
    };
}

errors! {
    Uninitialized = 1, c"Uninitialized";
    InvalidArgument = 2, c"Invalid argument";
    NotSupported = 3, c"Not supported";
    NoPermission = 4, c"Insufficient permissions";
    NotFound = 6, c"Not found";
    InsufficientSize = 7, c"Insufficient size";
    DriverNotLoaded = 9, c"Driver not loaded: is vgpud running?";
    GpuIsLost = 15, c"GPU is lost: is vgpud running, and the backend on the host?";
    LibRmVersionMismatch = 18, c"Driver/library version mismatch";
    ArgumentVersionMismatch = 25, c"The provided version is invalid or unsupported";
    Unknown = 999, c"Unknown error";
}
