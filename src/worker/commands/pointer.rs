//! What the driver knows about an address.

use vgpu_protocol::cmd;
use vgpu_protocol::cuda::PointerInfo;

use crate::worker::context::{Context, Failure};
use crate::worker::ffi::driver;

const MEMORY_TYPE: i32 = 2;
const BUFFER_ID: i32 = 7;
const RANGE_START_ADDR: i32 = 11;
const RANGE_SIZE: i32 = 12;

/// `vgpuPointerInfo`. An address that the driver does not know is no error.
pub fn pointer_info(
    ctx: &mut Context<'_>,
    command: cmd::VgpuPointerInfo,
) -> Result<cmd::VgpuPointerInfoReply, Failure> {
    let ask = |attribute: i32| -> Result<u64, Failure> {
        // Large enough for each of them; little-endian, so that a narrower value fills the low part.
        let mut value = 0u64;
        driver!(ctx, cuPointerGetAttribute(std::ptr::from_mut(&mut value).cast(), attribute, command.ptr))?;
        Ok(value)
    };
    let memory_type = ask(MEMORY_TYPE).ok().and_then(|t| u32::try_from(t).ok());
    let info = PointerInfo {
        known: u32::from(memory_type.is_some()),
        memory_type: memory_type.unwrap_or(0),
        base: ask(RANGE_START_ADDR).unwrap_or(0),
        size: ask(RANGE_SIZE).unwrap_or(0),
        buffer_id: ask(BUFFER_ID).unwrap_or(0),
    };
    Ok(cmd::VgpuPointerInfoReply { info })
}
