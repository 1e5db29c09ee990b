//! What a device is.

use std::ffi::c_char;

use vgpu_protocol::cuda::CUuuid;
use vgpu_protocol::{cmd, DeviceInfo, DriverApi, PeerInfo, ATTRIBUTE_UNKNOWN, DEVICES_MAX, DEVICE_ATTRIBUTES};

use crate::worker::context::{Context, Failure};
use crate::worker::ffi::driver;

/// Something through which the driver can be called.
struct Driver<'a> {
    api: &'a DriverApi,
}

/// `vgpuDeviceInfo`.
pub fn device_info(ctx: &mut Context<'_>, command: cmd::VgpuDeviceInfo) -> Result<cmd::VgpuDeviceInfoReply, Failure> {
    Ok(cmd::VgpuDeviceInfoReply { info: describe(ctx.api, ctx.session.is_cpu, command.dev)? })
}

/// Asks the driver, which may run on a CPU, all that the guest answers from.
pub fn describe(api: &DriverApi, is_cpu: bool, dev: i32) -> Result<DeviceInfo, Failure> {
    let driver = Driver { api };
    let mut device_count = 0;
    driver!(driver, cuDeviceGetCount(&mut device_count))?;
    let mut device = 0;
    driver!(driver, cuDeviceGet(&mut device, dev))?;
    let mut name = [0u8; 256];
    driver!(driver, cuDeviceGetName(name.as_mut_ptr().cast::<c_char>(), 255, device))?;
    let mut uuid = CUuuid::default();
    driver!(driver, cuDeviceGetUuid_v2(&mut uuid, device))?;
    let mut total_memory = 0;
    driver!(driver, cuDeviceTotalMem_v2(&mut total_memory, device))?;
    let mut driver_version = 0;
    driver!(driver, cuDriverGetVersion(&mut driver_version))?;
    let mut attributes = [ATTRIBUTE_UNKNOWN; DEVICE_ATTRIBUTES];
    for (number, attribute) in (0i32..).zip(&mut attributes).skip(1) {
        let mut value = 0;
        if driver!(driver, cuDeviceGetAttribute(&mut value, number, device)).is_ok() {
            *attribute = value;
        }
    }
    let mut peers = [PeerInfo::NONE; DEVICES_MAX];
    for (peer, info) in (0..device_count).zip(&mut peers).filter(|(peer, _)| *peer != dev) {
        *info = describe_peer(&driver, device, peer)?;
    }
    Ok(DeviceInfo {
        name,
        uuid: uuid.bytes,
        total_memory: total_memory as u64,
        driver_version,
        device_count,
        is_cpu: is_cpu.into(),
        reserved: 0,
        attributes,
        peers,
    })
}

/// What a device can do with the memory of another. A driver that does not say so is one that cannot.
fn describe_peer(driver: &Driver<'_>, device: i32, peer: i32) -> Result<PeerInfo, Failure> {
    let mut other = 0;
    driver!(driver, cuDeviceGet(&mut other, peer))?;
    let mut info = PeerInfo::NONE;
    if driver!(driver, cuDeviceCanAccessPeer(&mut info.can_access, device, other)).is_err() {
        return Ok(PeerInfo::NONE);
    }
    for (number, attribute) in (1..).zip(&mut info.attributes) {
        let mut value = 0;
        if driver!(driver, cuDeviceGetP2PAttribute(&mut value, number, device, other)).is_ok() {
            *attribute = value;
        }
    }
    Ok(info)
}
