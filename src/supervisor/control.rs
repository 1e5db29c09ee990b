//! Requests of the control queue: every one is answered, whatever it holds.

use vgpu_protocol::control::{
    BackendStatus, ControlHeader, ControlOp, ControlReply, ControlStatus, MapRange, Sensors, SessionCreate, SessionMap,
    SessionUnmap, MAX_RANGES, MAX_SESSIONS,
};
use vgpu_protocol::DeviceInfo;
use zerocopy::{FromBytes, IntoBytes};

use super::table::SessionTable;
use super::vring::ObservedVring;

/// Largest request, bytes.
pub const MAX_REQUEST: usize =
    size_of::<ControlHeader>() + size_of::<SessionMap>() + MAX_RANGES * size_of::<MapRange>();

/// What requests act on.
pub struct Control<'a> {
    /// The sessions.
    pub table: &'a SessionTable,
    /// All vrings of the device, the control queue's first.
    pub vrings: &'a [ObservedVring],
    /// What the GPUs are.
    pub devices: &'a [DeviceInfo],
}

impl Control<'_> {
    /// Carries a request out; the bytes to send back.
    pub fn answer(&self, request: &[u8]) -> Vec<u8> {
        let mut body = Vec::new();
        let status = match self.run(request, &mut body) {
            Ok(()) => ControlStatus::Ok,
            Err(status) => {
                log::debug!("control request refused: {status}");
                status
            }
        };
        let reply = ControlReply { status: status as u32, bytes: u32::try_from(body.len()).unwrap_or(0) };
        [reply.as_bytes(), &body].concat()
    }

    fn run(&self, request: &[u8], body: &mut Vec<u8>) -> Result<(), ControlStatus> {
        let (header, rest) = ControlHeader::read_from_prefix(request).map_err(|_| ControlStatus::Malformed)?;
        let queue = header.queue;
        match ControlOp::from_wire(header.op).ok_or(ControlStatus::Malformed)? {
            ControlOp::SessionCreate => {
                let vring = usize::try_from(queue).ok().and_then(|q| self.vrings.get(q));
                self.table.create(queue, vring, &exactly::<SessionCreate>(rest)?)
            }
            ControlOp::SessionMap => {
                let (map, ranges) = SessionMap::read_from_prefix(rest).map_err(|_| ControlStatus::Malformed)?;
                self.table.map(queue, &map, &ranges_of(&map, ranges)?)
            }
            ControlOp::SessionUnmap => self.table.unmap(queue, &exactly::<SessionUnmap>(rest)?),
            ControlOp::SessionDestroy => {
                nothing(rest)?;
                self.table.destroy(queue)
            }
            ControlOp::Status => {
                nothing(rest)?;
                body.extend_from_slice(self.status(queue)?.as_bytes());
                Ok(())
            }
        }
    }

    fn status(&self, number: u32) -> Result<BackendStatus, ControlStatus> {
        let mut status = describe(self.devices, number).ok_or(ControlStatus::BadQueue)?;
        self.table.measure(&mut status);
        Ok(status)
    }
}

/// What does not change about one of the GPUs.
pub fn describe(devices: &[DeviceInfo], number: u32) -> Option<BackendStatus> {
    let device = devices.get(usize::try_from(number).ok()?)?;
    let attribute =
        |number: i32| usize::try_from(number).ok().and_then(|n| device.attributes.get(n)).copied().unwrap_or(0);
    let capability = attribute(vgpu_protocol::cuda::attribute::COMPUTE_CAPABILITY_MAJOR) * 10
        + attribute(vgpu_protocol::cuda::attribute::COMPUTE_CAPABILITY_MINOR);
    let mut gpu_name = [0; 64];
    // The last byte stays NUL.
    for (to, from) in gpu_name.iter_mut().take(63).zip(device.name.iter().take_while(|b| **b != 0)) {
        *to = *from;
    }
    Some(BackendStatus {
        gpu_name,
        memory_total: device.total_memory,
        memory_used: 0,
        session_memory: [u64::MAX; MAX_SESSIONS as usize + 1],
        sessions: 0,
        device_count: u32::try_from(devices.len()).unwrap_or(u32::MAX),
        sensors: Sensors::NONE,
        driver_release: [0; 32],
        driver_version: u32::try_from(device.driver_version).unwrap_or(0),
        capability: u32::try_from(capability).unwrap_or(0),
        uuid: device.uuid,
    })
}

fn exactly<T: FromBytes>(bytes: &[u8]) -> Result<T, ControlStatus> {
    T::read_from_bytes(bytes).map_err(|_| ControlStatus::Malformed)
}

fn nothing(bytes: &[u8]) -> Result<(), ControlStatus> {
    if bytes.is_empty() {
        Ok(())
    } else {
        Err(ControlStatus::Malformed)
    }
}

fn ranges_of(map: &SessionMap, bytes: &[u8]) -> Result<Vec<MapRange>, ControlStatus> {
    let count = usize::try_from(map.count).ok().filter(|count| *count <= MAX_RANGES).ok_or(ControlStatus::Malformed)?;
    if bytes.len() != count * size_of::<MapRange>() {
        return Err(ControlStatus::Malformed);
    }
    bytes.chunks_exact(size_of::<MapRange>()).map(exactly).collect()
}
