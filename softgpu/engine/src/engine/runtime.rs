//! Functions of the device runtime: `vprintf`, `malloc`, `free`, `__assertfail`, `cudaGraphSetConditional`.

use super::cx::Cx;
use super::ops::call::RuntimeResult;
use super::ops::memory::{Bank, Generic};
use super::ops::special::thread_index;
use super::printf;
use super::FaultKind;
use crate::ir::Intrinsic;
use crate::memory::AccessError;

/// Longest string taken from device memory.
const MAX_STRING: u64 = 1 << 16;

/// The number by which code names a runtime function.
pub(super) fn number(function: Intrinsic) -> u32 {
    match function {
        Intrinsic::Vprintf => 0,
        Intrinsic::Malloc => 1,
        Intrinsic::Free => 2,
        Intrinsic::AssertFail => 3,
        Intrinsic::SetConditional => 4,
    }
}

/// Calls a runtime function for one lane.
pub(super) fn call(cx: &mut Cx<'_>, number: u32, lane: usize, args: [u64; 5]) -> RuntimeResult {
    match number {
        0 => print(cx, lane, args[0], args[1]),
        1 => Ok(Some(cx.env.heap.malloc(args[0]))),
        2 => match cx.env.heap.free(args[0]) {
            true => Ok(None),
            false => Err((FaultKind::Trap, args[0], "free of an address that malloc did not give".into())),
        },
        3 => assertion_failed(cx, lane, args),
        _ => {
            let stored = Generic::store(cx, lane, args[0], args[1] as u32);
            stored.map(|()| None).map_err(|error| access_in("cudaGraphSetConditional", error))
        }
    }
}

fn access(error: AccessError) -> (FaultKind, u64, String) {
    access_in("printf", error)
}

fn access_in(function: &str, error: AccessError) -> (FaultKind, u64, String) {
    match error {
        AccessError::Illegal(address) => (FaultKind::IllegalAddress, address, function.into()),
        AccessError::Misaligned(address) => (FaultKind::MisalignedAddress, address, function.into()),
    }
}

fn print(cx: &mut Cx<'_>, lane: usize, format: u64, arguments: u64) -> RuntimeResult {
    let format = string(cx, lane, format).map_err(access)?;
    let mut memory = DeviceArguments { cx, lane, next: arguments };
    let (text, count) = printf::format(&format, &mut memory).map_err(access)?;
    cx.env.output.write(&text);
    Ok(Some(u64::from(count)))
}

/// A NUL-terminated string without its end.
fn string(cx: &mut Cx<'_>, lane: usize, address: u64) -> Result<Vec<u8>, AccessError> {
    let mut bytes = Vec::new();
    for at in (0..MAX_STRING).map(|i| address.wrapping_add(i)) {
        match Generic::load::<u8>(cx, lane, at)? {
            0 => break,
            byte => bytes.push(byte),
        }
    }
    Ok(bytes)
}

/// The argument buffer of a `vprintf` call: naturally aligned values one after the other.
struct DeviceArguments<'c, 'a> {
    cx: &'c mut Cx<'a>,
    lane: usize,
    next: u64,
}

impl printf::Arguments for DeviceArguments<'_, '_> {
    type Error = AccessError;

    fn word(&mut self) -> Result<u32, AccessError> {
        self.next = self.next.wrapping_add(3) & !3;
        let value = Generic::load(self.cx, self.lane, self.next)?;
        self.next = self.next.wrapping_add(4);
        Ok(value)
    }

    fn long(&mut self) -> Result<u64, AccessError> {
        self.next = self.next.wrapping_add(7) & !7;
        let value = Generic::load(self.cx, self.lane, self.next)?;
        self.next = self.next.wrapping_add(8);
        Ok(value)
    }

    fn string(&mut self, address: u64) -> Result<Vec<u8>, AccessError> {
        string(self.cx, self.lane, address)
    }
}

fn assertion_failed(cx: &mut Cx<'_>, lane: usize, args: [u64; 5]) -> RuntimeResult {
    let [message, file, line, function, _] = args;
    let mut text = |address| {
        let bytes = if address == 0 { Ok(Vec::new()) } else { string(cx, lane, address) };
        bytes.map(|b| String::from_utf8_lossy(&b).into_owned()).map_err(access)
    };
    let (message, file, function) = (text(message)?, text(file)?, text(function)?);
    let [bx, by, bz] = cx.block;
    let [tx, ty, tz] = thread_index(cx.env.block, cx.warp, lane as u32);
    let report = format!(
        "{file}:{}: {function}: block: [{bx},{by},{bz}], thread: [{tx},{ty},{tz}] Assertion `{message}` failed.\n",
        line as u32
    );
    cx.env.output.write(report.as_bytes());
    Err((FaultKind::Assert, 0, format!("assertion `{message}` at {file}:{}", line as u32)))
}
