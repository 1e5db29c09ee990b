//! Reading a reply slot: copied once, checked, never trusted.

use vgpu_protocol::cuda::CUresult;
use vgpu_protocol::session::{ReplyHeader, REPLY_DONE, REPLY_OFFSET, REPLY_SIZE};
use zerocopy::{FromZeros, IntoBytes};

use crate::ring::Broken;
use crate::sys::Shared;

/// Largest outputs of a command, bytes.
pub const MAX_BODY: usize = REPLY_SIZE - size_of::<ReplyHeader>();

/// What came back for a batch.
#[derive(Debug)]
pub struct Outcome {
    /// Result of the last command.
    pub result: CUresult,
    /// First error of earlier commands, and the opcode that caused it.
    pub latched: Option<(CUresult, u16)>,
    /// Whether kernels printed text.
    pub output: bool,
    /// Outputs of the last command, encoded.
    pub body: Vec<u8>,
}

fn offset(slot: usize) -> usize {
    REPLY_OFFSET + slot * REPLY_SIZE
}

/// Clears a slot's status before its batch is submitted.
pub fn clear(home: &Shared, slot: usize) {
    home.store_u32(offset(slot), 0);
}

/// Whether the slot's reply is there.
pub fn is_done(home: &Shared, slot: usize) -> bool {
    home.load_u32(offset(slot)) == REPLY_DONE
}

/// Copies the reply of batch `sequence` out of its slot.
pub fn read(home: &Shared, slot: usize, sequence: u64) -> Result<Outcome, Broken> {
    if !is_done(home, slot) {
        return Err(Broken);
    }
    let mut header = ReplyHeader::new_zeroed();
    home.read(offset(slot), header.as_mut_bytes());
    if header.sequence != sequence || header.bytes as usize > MAX_BODY {
        return Err(Broken);
    }
    let mut body = vec![0; header.bytes as usize];
    home.read(offset(slot) + size_of::<ReplyHeader>(), &mut body);
    Ok(Outcome {
        result: CUresult(header.result),
        latched: (header.latched != 0).then_some((CUresult(header.latched), header.latched_opcode as u16)),
        output: header.output != 0,
        body,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wait::tests::test_home;

    fn answer(home: &Shared, header: ReplyHeader) {
        home.write(offset(2), header.as_bytes());
    }

    #[test]
    fn test_reply_of_another_batch_or_with_a_wild_length_is_broken() {
        let home = test_home();
        assert!(read(&home, 2, 7).is_err());
        answer(&home, ReplyHeader { status: REPLY_DONE, sequence: 6, ..Default::default() });
        assert!(read(&home, 2, 7).is_err());
        answer(&home, ReplyHeader { status: REPLY_DONE, sequence: 7, bytes: REPLY_SIZE as u32, ..Default::default() });
        assert!(read(&home, 2, 7).is_err());
        answer(&home, ReplyHeader { status: REPLY_DONE, sequence: 7, bytes: 16, latched: 700, ..Default::default() });
        let outcome = read(&home, 2, 7).unwrap();
        assert_eq!((outcome.body.len(), outcome.latched), (16, Some((CUresult::ILLEGAL_ADDRESS, 0))));
        clear(&home, 2);
        assert!(!is_done(&home, 2));
    }

    #[test]
    fn test_whatever_the_device_writes_is_an_outcome_or_broken() {
        let home = test_home();
        let mut random = vgpu_fuzz::Random::new(5);
        let mut ring = crate::ring::Ring::new(&home, 0x10_0000);
        for _ in vgpu_fuzz::rounds("replies", 20_000) {
            let mut words: Vec<u8> = (0..6).flat_map(|_| (random.edge() as u32).to_le_bytes()).collect();
            words.extend(random.bytes(32));
            if random.below(2) == 0 {
                words[..4].copy_from_slice(&REPLY_DONE.to_le_bytes());
                words[16..20].copy_from_slice(&(random.below(MAX_BODY + 100) as u32).to_le_bytes());
                words[24..32].copy_from_slice(&7u64.to_le_bytes());
            }
            home.write(offset(2), &words);
            if let Ok(outcome) = read(&home, 2, 7) {
                assert!(outcome.body.len() <= MAX_BODY);
                let mut reader = vgpu_protocol::Reader::new(&outcome.body);
                let _ = <vgpu_protocol::cmd::VgpuReadOutputReply as vgpu_protocol::Reply>::decode(&mut reader);
                let mut reader = vgpu_protocol::Reader::new(&outcome.body);
                let _ = <vgpu_protocol::cmd::VgpuDeviceInfoReply as vgpu_protocol::Reply>::decode(&mut reader);
            }
            let bytes = random.bytes(64);
            home.write(vgpu_protocol::session::USED_OFFSET, &bytes);
            while let Ok(Some((slot, _))) = ring.next_used(&home) {
                assert!(slot < vgpu_protocol::session::SLOTS);
            }
        }
    }
}
