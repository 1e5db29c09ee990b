//! A batch, in private memory: checked as a whole before any of it runs.

use vgpu_protocol::session::{BatchHeader, CommandHeader, BATCH_POSTED};
use vgpu_protocol::{Class, FUNCTIONS};
use zerocopy::FromBytes;

/// One command of a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Item<'a> {
    /// Position in the API table, from 1.
    pub opcode: u16,
    /// What follows the command's header.
    pub payload: &'a [u8],
}

impl Item<'_> {
    /// Whether the client waits for the command's result.
    pub fn waits(&self) -> bool {
        waits(self.opcode)
    }
}

/// Whether a client waits for the result of commands with this opcode.
pub fn waits(opcode: u16) -> bool {
    let function = usize::from(opcode).checked_sub(1).and_then(|i| FUNCTIONS.get(i));
    // An unknown opcode is refused, and whoever sent it should hear of it.
    function.is_none_or(|f| !matches!(f.class, Class::Async))
}

/// The batch's header, as far as there is one: a malformed batch is answered under its number.
pub fn header(bytes: &[u8]) -> BatchHeader {
    BatchHeader::read_from_prefix(bytes).map(|(header, _)| header).unwrap_or_default()
}

/// The commands of a batch, in order.
#[derive(Clone, Copy, Debug)]
pub struct Items<'a>(&'a [u8]);

impl<'a> Items<'a> {
    /// The command at the start and what follows it.
    fn split(self) -> Option<(Item<'a>, Items<'a>)> {
        let (command, behind) = CommandHeader::read_from_prefix(self.0).ok()?;
        let (payload, next) = behind.split_at_checked(command.length as usize)?;
        let sound = payload.len().is_multiple_of(8) && command.flags == 0;
        sound.then_some((Item { opcode: command.opcode, payload }, Items(next)))
    }
}

impl<'a> Iterator for Items<'a> {
    type Item = Item<'a>;

    fn next(&mut self) -> Option<Item<'a>> {
        let (item, rest) = self.split()?;
        *self = rest;
        Some(item)
    }
}

/// Checks a batch, which yields its commands. `None` if its lengths or counts do not fit, or if a command
/// that waits is not the last.
pub fn parse(bytes: &[u8]) -> Option<Items<'_>> {
    let (header, body) = BatchHeader::read_from_prefix(bytes).ok()?;
    if body.len() != header.bytes as usize || header.flags & !BATCH_POSTED != 0 {
        return None;
    }
    let (mut rest, mut count, mut early) = (Items(body), 0, false);
    while !rest.0.is_empty() {
        let (item, next) = rest.split()?;
        early |= item.waits() && !next.0.is_empty();
        count += 1;
        rest = next;
    }
    (count == header.count && count > 0 && !early).then_some(Items(body))
}

#[cfg(test)]
mod tests {
    use super::*;
    use vgpu_protocol::{cmd, Command};
    use zerocopy::IntoBytes;

    const ASYNC: u16 = cmd::CuMemFreeV2::OPCODE;
    const SYNC: u16 = cmd::CuMemGetInfoV2::OPCODE;

    fn batch(commands: &[(u16, usize)]) -> Vec<u8> {
        let mut body = Vec::new();
        for (opcode, length) in commands {
            let header = CommandHeader { opcode: *opcode, flags: 0, length: u32::try_from(*length).unwrap() };
            body.extend_from_slice(header.as_bytes());
            body.resize(body.len() + length, 0);
        }
        let (count, bytes) = (u32::try_from(commands.len()).unwrap(), u32::try_from(body.len()).unwrap());
        let header = BatchHeader { sequence: 1, count, bytes, ..BatchHeader::default() };
        [header.as_bytes(), &body].concat()
    }

    #[test]
    fn test_commands_are_found() {
        let bytes = batch(&[(ASYNC, 8), (SYNC, 0)]);
        let items = parse(&bytes).unwrap();
        assert_eq!(items.map(|i| (i.opcode, i.payload.len())).collect::<Vec<_>>(), [(ASYNC, 8), (SYNC, 0)]);
    }

    #[test]
    fn test_every_truncation_is_malformed() {
        let bytes = batch(&[(ASYNC, 8), (ASYNC, 16), (SYNC, 0)]);
        for length in 0..bytes.len() {
            assert!(parse(&bytes[..length]).is_none(), "length {length}");
        }
        assert!(parse(&[bytes, vec![0; 8]].concat()).is_none(), "bytes behind the batch");
    }

    #[test]
    fn test_only_the_last_command_may_wait() {
        assert!(parse(&batch(&[(SYNC, 0), (ASYNC, 8)])).is_none());
        assert!(parse(&batch(&[])).is_none());
        assert!(parse(&batch(&[(ASYNC, 7)])).is_none(), "odd length");
        assert!(
            parse(&batch(&[(0, 0)])).is_some_and(|mut i| i.next().unwrap().waits()),
            "unknown opcodes get an answer"
        );
    }
}
