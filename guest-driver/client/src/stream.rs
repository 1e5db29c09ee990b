//! The command stream: commands of all threads, gathered into batches, in the queue's slots.

use vgpu_protocol::cuda::CUresult;
use vgpu_protocol::session::{BatchHeader, CommandHeader, BATCH_POSTED, COMMAND_OFFSET, COMMAND_SIZE, SLOTS};
use vgpu_protocol::{Command, Writer};
use zerocopy::IntoBytes;

use crate::reply;
use crate::ring::{Broken, Ring};
use crate::sys::Shared;

/// Most bytes of commands in a batch.
const BATCH_ROOM: usize = COMMAND_SIZE - size_of::<BatchHeader>();

/// Why a command was not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// All slots are under way: wait for one.
    Full,
    /// The command is larger than a batch can be.
    TooBig,
}

/// A batch that somebody waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ticket {
    /// Its slot.
    pub slot: usize,
    /// Its sequence number.
    pub sequence: u64,
}

/// What completed batches have to tell.
#[derive(Debug, Default)]
pub struct News {
    /// First error of a command that nobody waited for, and its opcode.
    pub latched: Option<(CUresult, u16)>,
    /// Whether kernels printed text.
    pub output: bool,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    Free,
    /// With the device; nobody waits.
    Posted,
    /// With the device; a thread waits for the reply.
    Awaited,
    /// The thread has its reply; the used ring does not show it yet.
    Taken,
    /// The used ring shows it; the thread has not read its reply yet.
    Answered,
}

#[derive(Clone, Copy)]
struct Slot {
    state: State,
    sequence: u64,
}

struct Batch {
    lane: u32,
    context: u64,
    count: u32,
    /// Takes no more commands.
    closed: bool,
    used: usize,
    bytes: Box<[u8; BATCH_ROOM]>,
}

/// Driver side of a session's queue. One lock guards it.
pub struct Stream {
    ring: Ring,
    slots: [Slot; SLOTS],
    free: Vec<usize>,
    open: Batch,
    next_sequence: u64,
}

impl Stream {
    /// An empty stream on a zeroed home at guest-physical `home_address`.
    pub fn new(home: &Shared, home_address: u64) -> Self {
        Stream {
            ring: Ring::new(home, home_address),
            slots: [Slot { state: State::Free, sequence: 0 }; SLOTS],
            free: (0..SLOTS).rev().collect(),
            open: Batch { lane: 0, context: 0, count: 0, closed: false, used: 0, bytes: Box::new([0; BATCH_ROOM]) },
            next_sequence: 1,
        }
    }

    /// Slots that nothing occupies.
    pub fn free_slots(&self) -> usize {
        self.free.len()
    }

    /// Whether commands wait to be submitted.
    pub fn has_open(&self) -> bool {
        self.open.count > 0
    }

    /// Whether `command` fits into the open batch, which belongs to one lane and one context.
    fn fits(&self, lane: u32, context: u64, size: usize) -> bool {
        let same = self.open.lane == lane && self.open.context == context;
        self.open.count == 0 || (same && !self.open.closed && size <= BATCH_ROOM - self.open.used)
    }

    /// Appends a command; returns the sequence number of its batch and whether to kick for an
    /// earlier batch that had to be closed first.
    pub fn append<'a, C: Command<'a>>(
        &mut self,
        home: &Shared,
        lane: u32,
        context: u64,
        command: &C,
    ) -> Result<(u64, bool), Refusal> {
        let payload = command.size();
        let size = size_of::<CommandHeader>() + payload;
        if size > BATCH_ROOM {
            return Err(Refusal::TooBig);
        }
        let mut kick = false;
        if !self.fits(lane, context, size) {
            kick = self.submit(home, false)?.1;
        }
        self.open.lane = lane;
        self.open.context = context;
        self.encode(command, payload, size)?;
        Ok((self.next_sequence, kick))
    }

    fn encode<'a, C: Command<'a>>(&mut self, command: &C, payload: usize, size: usize) -> Result<(), Refusal> {
        let room = self.open.bytes.get_mut(self.open.used..).ok_or(Refusal::TooBig)?;
        let header = CommandHeader { opcode: C::OPCODE, flags: 0, length: payload as u32 };
        let (head, body) = room.split_at_mut(size_of::<CommandHeader>());
        let mut writer = Writer::new(body);
        command.encode(&mut writer).map_err(|_| Refusal::TooBig)?;
        debug_assert_eq!(writer.used(), payload, "{}", C::NAME);
        head.copy_from_slice(header.as_bytes());
        self.open.used += size;
        self.open.count += 1;
        Ok(())
    }

    /// Ends the open batch with its last command: the reply of a batch that uses a piece of the staging
    /// area tells when the piece is free, which a call that waits must not be held up by.
    pub fn close(&mut self) {
        self.open.closed = true;
    }

    /// Hands the open batch to the device. `waits`: its last command's reply will be read by a
    /// thread. Also tells whether to kick.
    pub fn submit(&mut self, home: &Shared, waits: bool) -> Result<(Ticket, bool), Refusal> {
        let slot = self.free.pop().ok_or(Refusal::Full)?;
        let sequence = self.next_sequence;
        self.next_sequence += 1;
        let header = BatchHeader {
            sequence,
            context: self.open.context,
            lane: self.open.lane,
            count: self.open.count,
            bytes: self.open.used as u32,
            flags: if waits { 0 } else { BATCH_POSTED },
        };
        let at = COMMAND_OFFSET + slot * COMMAND_SIZE;
        home.write(at, header.as_bytes());
        home.write(at + size_of::<BatchHeader>(), self.open.bytes.get(..self.open.used).unwrap_or_default());
        let length = size_of::<BatchHeader>() + self.open.used;
        self.open.count = 0;
        self.open.closed = false;
        self.open.used = 0;
        reply::clear(home, slot);
        if let Some(taken) = self.slots.get_mut(slot) {
            *taken = Slot { state: if waits { State::Awaited } else { State::Posted }, sequence };
        }
        let kick = self.ring.publish(home, slot, length);
        Ok((Ticket { slot, sequence }, kick))
    }

    /// Takes back the slots that the device is done with.
    pub fn reap(&mut self, home: &Shared) -> Result<News, Broken> {
        let mut news = News::default();
        while let Some((slot, written)) = self.ring.next_used(home)? {
            let taken = self.slots.get_mut(slot).ok_or(Broken)?;
            match taken.state {
                State::Posted if written == 0 => self.release(slot),
                State::Posted => {
                    let outcome = reply::read(home, slot, taken.sequence)?;
                    news.latched = news.latched.or(outcome.latched);
                    news.output |= outcome.output;
                    self.release(slot);
                }
                State::Awaited => taken.state = State::Answered,
                State::Taken => self.release(slot),
                State::Free | State::Answered => return Err(Broken),
            }
        }
        Ok(news)
    }

    /// The waiting thread has read its reply.
    pub fn consume(&mut self, ticket: Ticket) {
        let Some(slot) = self.slots.get_mut(ticket.slot) else { return };
        match slot.state {
            State::Awaited => slot.state = State::Taken,
            State::Answered => self.release(ticket.slot),
            State::Free | State::Posted | State::Taken => {}
        }
    }

    /// Whether the device is done with the batch of that number.
    pub fn is_done(&self, sequence: u64) -> bool {
        let under_way = |s: &Slot| matches!(s.state, State::Posted | State::Awaited) && s.sequence == sequence;
        sequence < self.next_sequence && !self.slots.iter().any(under_way)
    }

    fn release(&mut self, slot: usize) {
        if let Some(released) = self.slots.get_mut(slot) {
            released.state = State::Free;
            self.free.push(slot);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wait::tests::test_home;
    use vgpu_protocol::cmd::{CuMemFreeV2, CuMemcpyDtoDV2, VgpuCopyHtoDInline};
    use vgpu_protocol::session::{ReplyHeader, REPLY_DONE, REPLY_OFFSET, REPLY_SIZE, USED_OFFSET};
    use vgpu_protocol::Handle;

    /// Plays the device: answers `slot` as the `n`th completion (from 0).
    fn complete(home: &Shared, n: u16, slot: usize, sequence: u64) {
        let header = ReplyHeader { status: REPLY_DONE, sequence, ..Default::default() };
        home.write(REPLY_OFFSET + slot * REPLY_SIZE, header.as_bytes());
        let entry = [(2 * slot as u32).to_le_bytes(), (REPLY_SIZE as u32).to_le_bytes()].concat();
        home.write(USED_OFFSET + 4 + 8 * usize::from(n), &entry);
        home.store_u16(USED_OFFSET + 2, n + 1);
    }

    fn header(home: &Shared, slot: usize) -> BatchHeader {
        let mut header = BatchHeader::default();
        home.read(COMMAND_OFFSET + slot * COMMAND_SIZE, header.as_mut_bytes());
        header
    }

    #[test]
    fn test_commands_of_one_lane_and_context_share_a_batch() {
        let home = test_home();
        let mut stream = Stream::new(&home, 0);
        let free = CuMemFreeV2 { dptr: 64 };
        for lane in [1, 1, 2] {
            stream.append(&home, lane, 9, &free).unwrap();
        }
        let (ticket, _) = stream.submit(&home, false).unwrap();
        assert_eq!(ticket.sequence, 2);
        let first = header(&home, 0);
        assert_eq!((first.sequence, first.context, first.lane, first.count, first.bytes), (1, 9, 1, 2, 32));
        assert_eq!(header(&home, 1).lane, 2);
    }

    #[test]
    fn test_slots_return_only_through_the_used_ring_and_the_waiting_thread() {
        let home = test_home();
        let mut stream = Stream::new(&home, 0);
        let copy = CuMemcpyDtoDV2 { dstDevice: 1, srcDevice: 2, ByteCount: 3 };
        stream.append(&home, 1, 0, &copy).unwrap();
        let (ticket, kick) = stream.submit(&home, true).unwrap();
        assert!(kick && !stream.is_done(ticket.sequence));
        complete(&home, 0, ticket.slot, ticket.sequence);
        stream.reap(&home).unwrap();
        assert!(stream.is_done(ticket.sequence));
        assert_eq!(stream.free_slots(), SLOTS - 1);
        stream.consume(ticket);
        assert_eq!(stream.free_slots(), SLOTS);
    }

    #[test]
    fn test_full_queue_and_oversized_command_are_refused() {
        let home = test_home();
        let mut stream = Stream::new(&home, 0);
        let free = CuMemFreeV2 { dptr: 64 };
        for _ in 0..SLOTS {
            stream.append(&home, 1, 0, &free).unwrap();
            stream.submit(&home, false).unwrap();
        }
        stream.append(&home, 1, 0, &free).unwrap();
        assert_eq!(stream.append(&home, 2, 0, &free), Err(Refusal::Full));
        let data = [0; COMMAND_SIZE];
        let big = VgpuCopyHtoDInline { dst: 0, stream: Handle::NULL, data: &data };
        assert_eq!(stream.append(&home, 1, 0, &big), Err(Refusal::TooBig));
    }

    #[test]
    fn test_completion_of_a_free_slot_is_broken() {
        let home = test_home();
        let mut stream = Stream::new(&home, 0);
        complete(&home, 0, 4, 1);
        assert!(stream.reap(&home).is_err());
    }
}
