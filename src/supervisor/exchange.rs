//! What the sessions of a VM share with each other. A thread per session serves its worker's requests, so
//! that a worker which does not read answers holds up nobody else; nothing that a worker says is taken for
//! more than bytes to be passed on.

use std::collections::HashMap;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::{Arc, Mutex, MutexGuard};

use rustix::rand::{getrandom, GetRandomFlags};
use vgpu_protocol::cuda::{IpcToken, IPC_HANDLE_SIZE};
use zerocopy::IntoBytes;

use crate::channel::{receive, send, socket_pair};
use crate::exchange::{Message, Op};

/// Things that a session may share at a time: each may hold a descriptor of this process.
const SHARED_MAX: usize = 1024;

/// Something that is shared.
struct Entry {
    session: u64,
    kind: u32,
    handle: [u8; IPC_HANDLE_SIZE],
    descriptor: Option<Arc<OwnedFd>>,
}

#[derive(Default)]
struct Table {
    entries: HashMap<IpcToken, Entry>,
    /// Processes of the sessions that there are, by their numbers here.
    sessions: HashMap<u64, u32>,
    last: u64,
}

/// The shared things of a VM.
#[derive(Default)]
pub struct Exchange(Mutex<Table>);

/// A session's part; what it shares ends with this.
pub struct Member {
    exchange: Arc<Exchange>,
    session: u64,
}

impl Exchange {
    fn lock(&self) -> MutexGuard<'_, Table> {
        self.0.lock().unwrap_or_else(|poison| poison.into_inner())
    }

    /// Serves a new session; the descriptor is for its worker, the process `process`.
    pub fn join(self: &Arc<Self>, process: i32) -> io::Result<(Member, OwnedFd)> {
        let (near, far) = socket_pair()?;
        let session = {
            let mut table = self.lock();
            table.last += 1;
            let session = table.last;
            table.sessions.insert(session, process.unsigned_abs());
            session
        };
        let member = Member { exchange: self.clone(), session };
        let exchange = self.clone();
        std::thread::Builder::new().name("exchange".into()).spawn(move || {
            if let Err(error) = exchange.serve(&near, session) {
                log::debug!("worker {process} shares nothing any more: {error}");
            }
            exchange.leave(session);
        })?;
        Ok((member, far))
    }

    /// Answers a worker until it ends, or sends what is no request.
    fn serve(&self, socket: &OwnedFd, session: u64) -> io::Result<()> {
        loop {
            let mut request = Message::new(0);
            let (length, descriptors) = receive(socket, request.as_mut_bytes())?;
            if length != size_of::<Message>() {
                return Ok(());
            }
            let (answer, descriptor) = match self.answer(session, &request, descriptors.into_iter().next()) {
                Some((answer, descriptor)) => (Message { word: 1, ..answer }, descriptor),
                None => (Message::new(0), None),
            };
            let descriptors: Vec<_> = descriptor.iter().map(|fd| fd.as_fd()).collect();
            send(socket, answer.as_bytes(), &descriptors)?;
        }
    }

    fn answer(
        &self,
        session: u64,
        request: &Message,
        descriptor: Option<OwnedFd>,
    ) -> Option<(Message, Option<Arc<OwnedFd>>)> {
        let mut table = self.lock();
        match Op::from_wire(request.word)? {
            Op::Export => {
                let shared = table.entries.values().filter(|entry| entry.session == session).count();
                if shared >= SHARED_MAX || !table.sessions.contains_key(&session) {
                    return None;
                }
                let mut token = IpcToken { bytes: [0; 32] };
                getrandom(&mut token.bytes, GetRandomFlags::empty()).ok()?;
                let (kind, handle, descriptor) = (request.kind, request.handle, descriptor.map(Arc::new));
                table.entries.insert(token, Entry { session, kind, handle, descriptor });
                Some((Message { token, ..Message::new(0) }, None))
            }
            Op::Import => {
                let entry = table.entries.get(&request.token).filter(|entry| entry.kind == request.kind)?;
                Some((Message { handle: entry.handle, ..Message::new(0) }, entry.descriptor.clone()))
            }
            Op::Forget => {
                let own = table.entries.get(&request.token).is_some_and(|entry| entry.session == session);
                own.then(|| table.entries.remove(&request.token)).map(|_| (Message::new(0), None))
            }
            Op::Lives => {
                let lives = table.sessions.values().any(|process| *process == request.process);
                lives.then(|| (Message::new(0), None))
            }
        }
    }

    fn leave(&self, session: u64) {
        let mut table = self.lock();
        table.sessions.remove(&session);
        table.entries.retain(|_, entry| entry.session != session);
    }
}

impl Drop for Member {
    fn drop(&mut self) {
        self.exchange.leave(self.session);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::exchange::{Exchange as Worker, Kind, Shared};
    use std::fs::File;

    fn join(exchange: &Arc<Exchange>, process: i32) -> (Member, Worker) {
        let (member, socket) = exchange.join(process).unwrap();
        (member, Worker::new(socket))
    }

    fn thing(byte: u8) -> Shared {
        Shared { handle: [byte; IPC_HANDLE_SIZE], descriptor: None }
    }

    #[test]
    fn test_what_a_session_shares_ends_with_it() {
        let exchange = Arc::default();
        let ((member, a), (_b, b)) = (join(&exchange, 7), join(&exchange, 8));
        let file = OwnedFd::from(File::open("/dev/null").unwrap());
        let token = a.export(Kind::Memory, &Shared { handle: [5; 64], descriptor: Some(file) }).unwrap();
        let found = b.import(Kind::Memory, token).unwrap();
        assert_eq!(found.handle, [5; 64]);
        assert!(found.descriptor.is_some());
        assert!(b.import(Kind::Event, token).is_none(), "of another kind");
        assert!(a.lives(8) && b.lives(7) && !a.lives(9));
        b.forget(token);
        assert!(b.import(Kind::Memory, token).is_some(), "not its own to end");
        drop(member);
        assert!(b.import(Kind::Memory, token).is_none() && !b.lives(7));
        assert!(a.export(Kind::Memory, &thing(1)).is_none(), "its session has ended");
    }

    #[test]
    fn test_tokens_cannot_be_guessed_nor_used_in_another_vm() {
        let (one, other) = (Arc::default(), Arc::default());
        let ((_a, a), (_b, b)) = (join(&one, 1), join(&other, 2));
        let (first, second) = (a.export(Kind::Event, &thing(1)).unwrap(), a.export(Kind::Event, &thing(1)).unwrap());
        assert_ne!(first, second);
        assert!(b.import(Kind::Event, first).is_none());
        assert!(a.import(Kind::Event, IpcToken { bytes: [0; 32] }).is_none());
        a.forget(first);
        assert!(a.import(Kind::Event, first).is_none() && a.import(Kind::Event, second).is_some());
    }

    #[test]
    fn test_a_session_shares_so_much_and_no_more() {
        let exchange = Arc::default();
        let ((_a, a), (_b, b)) = (join(&exchange, 1), join(&exchange, 2));
        let tokens: Vec<_> = (0..SHARED_MAX).map(|_| a.export(Kind::Memory, &thing(0)).unwrap()).collect();
        assert!(a.export(Kind::Memory, &thing(0)).is_none());
        assert!(b.export(Kind::Memory, &thing(0)).is_some());
        a.forget(tokens[0]);
        assert!(a.export(Kind::Memory, &thing(0)).is_some());
    }

    #[test]
    fn test_what_is_no_request_ends_the_service() {
        let exchange: Arc<Exchange> = Arc::default();
        let (_member, socket) = exchange.join(1).unwrap();
        send(&socket, Message::new(99).as_bytes(), &[]).unwrap();
        let mut answer = Message::new(7);
        receive(&socket, answer.as_mut_bytes()).unwrap();
        assert_eq!(answer.word, 0, "an unknown operation is an error");
        send(&socket, &[1, 2, 3], &[]).unwrap();
        assert_eq!(receive(&socket, answer.as_mut_bytes()).unwrap().0, 0, "the supervisor has closed its end");
    }
}
