//! Sessions against a broker and a device of our own.

mod device;

use std::sync::Mutex;

use vgpu_protocol::cmd::{CuMemAllocV2, CuMemFreeV2, CuMemGetInfoV2, VgpuReadOutput};
use vgpu_protocol::cuda::CUresult;
use vgpu_protocol::session::{
    due_entry, DueFunction, ReplyHeader, DUE_FUNCTIONS, DUE_OFFSET, HOME_SIZE, REPLY_DONE, REPLY_SIZE, RUN_OFFSET,
    STATE_DEAD, STATE_OFFSET,
};
use vgpu_protocol::Command;
use zerocopy::IntoBytes;

use crate::{Session, PIECE_SIZE};
use device::{connect, Batch, Device};

static PRINTED: Mutex<Vec<u8>> = Mutex::new(Vec::new());

fn print(text: &[u8]) {
    PRINTED.lock().unwrap().extend(text);
}

/// A small driver: `cuMemAlloc` returns its size plus the number of frees seen so far, `cuMemFree(13)`
/// fails, `cuMemAlloc(7)` prints, `cuMemGetInfo` ends the session.
fn executor(mut device: Device) {
    let mut frees = 0u64;
    let mut latched = 0;
    loop {
        let batch = device.next();
        let mut reply = ReplyHeader::default();
        let mut body = Vec::new();
        for (opcode, payload) in &batch.commands {
            let word = payload.get(..8).map_or(0, |bytes| u64::from_le_bytes(bytes.try_into().unwrap()));
            match *opcode {
                CuMemFreeV2::OPCODE if word == 13 => latched = CUresult::INVALID_VALUE.0,
                CuMemFreeV2::OPCODE => frees += 1,
                CuMemAllocV2::OPCODE if word == 0 => reply.result = CUresult::OUT_OF_MEMORY.0,
                CuMemAllocV2::OPCODE => {
                    reply.output = u32::from(word == 7);
                    body = (word + frees).to_le_bytes().to_vec();
                }
                VgpuReadOutput::OPCODE => body = read_output_reply(b"hello"),
                _ => return die(&device),
            }
        }
        if batch.commands.last().is_some_and(|(opcode, _)| *opcode == CuMemAllocV2::OPCODE) {
            reply.latched = std::mem::take(&mut latched);
            reply.latched_opcode = u32::from(CuMemFreeV2::OPCODE);
        }
        device.answer(&batch, reply, &body);
    }
}

fn die(device: &Device) {
    device.home.store_u32(STATE_OFFSET, STATE_DEAD);
}

fn read_output_reply(text: &[u8]) -> Vec<u8> {
    let mut body = 0u64.to_le_bytes().to_vec();
    body.extend((text.len() as u64).to_le_bytes());
    body.extend(text);
    body.resize(body.len().next_multiple_of(8), 0);
    body
}

fn alloc(session: &'static Session, bytesize: usize) -> Result<u64, CUresult> {
    session.call(0, &CuMemAllocV2 { bytesize }).map(|reply| reply.dptr)
}

#[test]
fn test_session_with_a_good_device() {
    let session = Session::open_on(connect(executor), print).unwrap();
    assert_eq!(alloc(session, 100), Ok(100));
    assert_eq!(alloc(session, 0), Err(CUresult::OUT_OF_MEMORY));
    check_order(session);
    check_latched_errors(session);
    assert!(alloc(session, 7).is_ok());
    assert_eq!(*PRINTED.lock().unwrap(), b"hello");
    check_memory(session);
    assert_eq!(session.call(0, &CuMemGetInfoV2 {}).err(), Some(CUresult::UNKNOWN));
    assert_eq!(alloc(session, 1), Err(CUresult::UNKNOWN));
    assert_eq!(session.post(0, &CuMemFreeV2 { dptr: 1 }), Err(CUresult::UNKNOWN));
}

/// Many threads post more than the queue holds; every call sees all that its own thread sent.
fn check_order(session: &'static Session) {
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                for posts in 1..=50 {
                    (0..posts).for_each(|_| assert!(session.post(0, &CuMemFreeV2 { dptr: 1 }).is_ok()));
                    let seen = alloc(session, 1).unwrap() - 1;
                    assert!(seen >= posts * (posts + 1) / 2, "{seen} of {posts}");
                }
            });
        }
    });
    assert_eq!(alloc(session, 1), Ok(1 + 4 * 50 * 51 / 2));
}

fn check_latched_errors(session: &'static Session) {
    session.post(0, &CuMemFreeV2 { dptr: 13 }).unwrap();
    assert!(alloc(session, 1).is_ok());
    assert_eq!(session.take_latched(), Some((CUresult::INVALID_VALUE, CuMemFreeV2::OPCODE)));
    assert_eq!(session.take_latched(), None);
}

fn check_memory(session: &'static Session) {
    let small = session.allocate(100).unwrap();
    session.write(small, &[1; 100]).unwrap();
    assert!(session.write(small + 200, &[1; 100]).is_err());
    let large = session.allocate(64 << 20).unwrap();
    session.write(large + (64 << 20) - 4, &[1; 4]).unwrap();
    assert_eq!(session.find(large + 5), Some((large, 64 << 20)));
    session.free(large).unwrap();
    assert_eq!((session.find(large), session.free(large)), (None, Err(CUresult::INVALID_VALUE)));
    assert_eq!(session.allocate(1 << 50), Err(CUresult::OUT_OF_MEMORY));
    let piece = session.take_piece().unwrap();
    session.fill_piece(&piece, &vec![3; PIECE_SIZE]);
    // The first chunk lies behind the home, and the piece in the home.
    let home = (small & !(HOME_SIZE as u64 - 1)) - HOME_SIZE as u64;
    assert!((home..home + HOME_SIZE as u64).contains(&session.piece_address(&piece)));
    session.give_back(piece, None);
}

/// What a hostile or broken device may do instead of an answer.
fn misbehave(kind: u32, device: &mut Device, batch: &Batch) {
    let sequence = batch.header.sequence;
    let good = ReplyHeader { status: REPLY_DONE, sequence, ..Default::default() };
    match kind {
        0 => device.write_reply(
            batch.slot,
            ReplyHeader { bytes: REPLY_SIZE as u32, sequence: sequence + 1, ..good },
            &[],
        ),
        1 => device.answer(batch, good, &[1, 2, 3]),
        _ => {
            device.use_head(3);
            device.answer(batch, good, &5u64.to_le_bytes());
        }
    }
}

#[test]
fn test_nonsense_from_the_device_ends_the_session_with_an_error() {
    // A process has room for four sessions: one is the other test's.
    for kind in 0..3 {
        let broker = connect(move |mut device| {
            let batch = device.next();
            misbehave(kind, &mut device, &batch);
        });
        let session = Session::open_on(broker, print).unwrap();
        assert_eq!(alloc(session, 5), Err(CUresult::UNKNOWN), "kind {kind}");
        assert_eq!(alloc(session, 5), Err(CUresult::UNKNOWN), "kind {kind}");
    }
}

#[test]
fn test_due_functions_come_in_order_and_an_absurd_count_ends_the_session() {
    const COUNT: u32 = 3 * DUE_FUNCTIONS;
    let worker = |device: Device| {
        let home = &device.home;
        for number in 0..COUNT {
            let due = DueFunction { id: 100 + u64::from(number), status: 0, reserved: 0 };
            home.write(due_entry(number), due.as_bytes());
            home.store_u32(DUE_OFFSET, number + 1);
            while home.load_u32(RUN_OFFSET) != number + 1 {
                device.beat();
                std::thread::yield_now();
            }
        }
        home.store_u32(DUE_OFFSET, COUNT + DUE_FUNCTIONS + 1);
    };
    let session = Session::open_on(connect(worker), print).unwrap();
    let mut due = session.due_functions();
    for number in 0..u64::from(COUNT) {
        assert_eq!(due.wait().map(|function| function.id), Ok(100 + number));
        due.has_run();
    }
    assert_eq!(due.wait(), Err(CUresult::UNKNOWN));
    assert_eq!(session.post(0, &CuMemFreeV2 { dptr: 1 }), Err(CUresult::UNKNOWN));
}
