//! The devices, and which of them the environment shows.

use std::ffi::CString;

/// A device by its number in the machine, or an instance of it.
#[derive(Clone, Copy)]
pub struct Device {
    number: u8,
    is_instance: bool,
}

impl Device {
    /// What it is called.
    pub fn name(self) -> CString {
        let number = if self.number == 0 { String::new() } else { format!(" {}", self.number) };
        let instance = if self.is_instance { " MIG 1g" } else { "" };
        CString::new(format!("mock GPU{number}{instance}")).unwrap()
    }

    /// Sixteen letters, with the device's number and the kind at the end.
    pub fn uuid(self) -> [u8; 16] {
        let mut uuid = *b"mock-gpu-uuid-00";
        uuid[14] = if self.is_instance { b'm' } else { b'0' };
        uuid[15] = b'0' + self.number;
        uuid
    }

    /// The device that an entry of the list names: a number, or the start of a UUID's text.
    fn named(entry: &str, count: u8) -> Option<Device> {
        let all = |is_instance| (0..count).map(move |number| Device { number, is_instance });
        let begins = |device: &Device, digits: &str| {
            let text: String = device.uuid().iter().map(|byte| format!("{byte:02x}")).collect();
            !digits.is_empty() && text.starts_with(&digits.replace('-', ""))
        };
        match entry.split_once('-') {
            Some(("GPU", digits)) => all(false).find(|device| begins(device, digits)),
            Some(("MIG", digits)) => all(true).find(|device| begins(device, digits)),
            _ => all(false).find(|device| entry.parse() == Ok(device.number)),
        }
    }
}

/// The devices that a program sees: those of the list up to the first that does not exist.
pub fn visible() -> Vec<Device> {
    let count = std::env::var("MOCK_DEVICES").map_or(1, |count| count.parse().unwrap());
    match std::env::var("CUDA_VISIBLE_DEVICES") {
        Ok(list) => list.split(',').map_while(|entry| Device::named(entry.trim(), count)).collect(),
        Err(_) => (0..count).map(|number| Device { number, is_instance: false }).collect(),
    }
}

/// A device by its number among the visible ones.
pub fn find(ordinal: i32) -> Option<Device> {
    visible().get(usize::try_from(ordinal).ok()?).copied()
}
