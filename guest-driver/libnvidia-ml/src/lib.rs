//! `libnvidia-ml.so.1` for guests: NVML as far as monitoring tools and frameworks need it.
//!
//! Every query asks the broker anew over a short-lived connection; no CUDA session is involved.
//! What a virtual GPU does not have (fans, NVLink), and what the host does not tell (of the software GPU clocks,
//! power and temperature), is `NVML_ERROR_NOT_SUPPORTED`.

mod abi;
mod error;
mod gpu;
mod types;
