//! The check by which a CUDA runtime makes sure that it talks to a driver of its own process: a
//! keyed hash over both sides' state. The constants that interoperability needs are those of
//! ZLUDA (<https://github.com/vosen/ZLUDA>, crate `dark_api`, `integrity_check`).

use md2::{Digest, Md2};

/// MD2's block, which is also its digest, bytes (RFC 1319).
const BLOCK: usize = 16;
const KEY: [u8; BLOCK] =
    [0x14, 0x6a, 0xdd, 0xae, 0x53, 0xa9, 0xa7, 0x52, 0xaa, 0x08, 0x41, 0x36, 0x0b, 0xf5, 0x5a, 0x9f];
/// Replies to versions with remainder 0 and 1.
const FIXED: [[u64; 2]; 2] =
    [[0x3341_181c_03cb_675c, 0x8ed3_83aa_1f4c_d1e8], [0x1841_181c_03cb_675c, 0x8ed3_83aa_1f4c_d1e8]];

/// What the hash covers besides the devices.
pub struct Question {
    /// As `cuDriverGetVersion` reports it.
    pub driver_version: u32,
    /// The runtime's version plus 0, 1 or 2.
    pub version: u32,
    /// The process.
    pub process: u32,
    /// Low half of `pthread_self`.
    pub thread: u32,
    /// Addresses of the runtime interface table, the integrity table, and the function itself.
    pub addresses: [u64; 3],
    /// Time of the question.
    pub unix_seconds: u64,
}

/// A device as the hash sees it.
pub struct DeviceIdentity {
    /// UUID.
    pub uuid: [u8; 16],
    /// PCI domain, bus and device.
    pub location: [i32; 3],
}

/// The reply.
pub fn answer(question: &Question, devices: impl Iterator<Item = DeviceIdentity>) -> [u64; 2] {
    if let Some(fixed) = FIXED.get((question.version % 10) as usize) {
        return *fixed;
    }
    let mut message = Vec::new();
    for word in [question.driver_version, question.version, question.process, question.thread] {
        message.extend(word.to_le_bytes());
    }
    for word in question.addresses.iter().chain([&question.unix_seconds]) {
        message.extend(word.to_le_bytes());
    }
    for device in devices {
        message.extend(device.uuid);
        message.extend(device.location.iter().flat_map(|number| number.to_le_bytes()));
    }
    let digest = hmac(&message);
    let (low, high) = digest.split_at(8);
    [word(low), word(high)]
}

fn word(bytes: &[u8]) -> u64 {
    bytes.iter().rev().fold(0, |value, byte| value << 8 | u64::from(*byte))
}

/// HMAC (RFC 2104) with MD2 and the fixed key, which fills a block exactly.
fn hmac(message: &[u8]) -> [u8; BLOCK] {
    let padded = |pad: u8| KEY.map(|byte| byte ^ pad);
    let inner = Md2::new().chain_update(padded(0x36)).chain_update(message).finalize();
    Md2::new().chain_update(padded(0x5c)).chain_update(inner).finalize().into()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn question(version: u32) -> Question {
        Question { driver_version: 13000, version, process: 1, thread: 2, addresses: [3, 4, 5], unix_seconds: 6 }
    }

    /// RFC 1319, A.5: test suite.
    #[test]
    fn test_md2_vectors() {
        for (text, digest) in [
            ("", "8350e5a3e24c153df2275c9f80692773"),
            ("a", "32ec01ec4a6dac72c0ab96fb34c0b5d1"),
            ("message digest", "ab4f496bfb2a530b219ff33031fe06b0"),
        ] {
            let hex: String = Md2::digest(text).iter().map(|byte| format!("{byte:02x}")).collect();
            assert_eq!(hex, digest);
        }
    }

    #[test]
    fn test_remainders_0_and_1_have_fixed_replies() {
        assert_eq!(answer(&question(13050), std::iter::empty()), FIXED[0]);
        assert_eq!(answer(&question(13051), std::iter::empty()), FIXED[1]);
    }

    #[test]
    fn test_remainder_2_covers_process_and_devices() {
        let device = || DeviceIdentity { uuid: [7; 16], location: [0, 1, 2] };
        let plain = answer(&question(13052), std::iter::empty());
        assert_ne!(plain, answer(&question(13052), std::iter::once(device())));
        let other = Question { process: 9, ..question(13052) };
        assert_ne!(plain, answer(&other, std::iter::empty()));
    }
}
