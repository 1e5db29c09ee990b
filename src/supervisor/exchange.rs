//! What the sessions of a VM share with each other, and what they have together. A thread per session serves
//! its worker's requests, so that a worker which does not read answers holds up nobody else; nothing that a
//! worker says is taken for more than bytes to be passed on.

use std::collections::HashMap;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Instant;

use rustix::rand::{getrandom, GetRandomFlags};
use vgpu_protocol::cuda::{IpcToken, IPC_HANDLE_SIZE};
use zerocopy::IntoBytes;

use crate::args::Totals;
use crate::channel::{receive, send, socket_pair};
use crate::exchange::{launches_in_portion, Amounts, Message, Op, Resource};
use crate::rate::Rate;

/// Things that a session may share at a time: each may hold a descriptor of this process.
const SHARED_MAX: usize = 1024;

/// Something that is shared.
struct Entry {
    session: u64,
    kind: u32,
    handle: [u8; IPC_HANDLE_SIZE],
    descriptor: Option<Arc<OwnedFd>>,
}

/// A session that there is.
struct Session {
    process: u32,
    has: Amounts<u64>,
}

#[derive(Default)]
struct Table {
    entries: HashMap<IpcToken, Entry>,
    /// By their numbers here.
    sessions: HashMap<u64, Session>,
    last: u64,
}

impl Table {
    /// Notes how much a session has of a resource, unless all together would have more than `limit` then. Less than
    /// before is always right.
    fn note(&mut self, session: u64, resource: Resource, amount: u64, limit: u64) -> Option<()> {
        let index = resource as usize;
        let has = |session: &Session| session.has.get(index).copied().unwrap_or(0);
        let all = self.sessions.values().fold(0u64, |sum, one| sum.saturating_add(has(one)));
        let session = self.sessions.get_mut(&session)?;
        let before = has(session);
        let after = all.saturating_sub(before).saturating_add(amount);
        if amount > before && after > limit {
            return None;
        }
        *session.has.get_mut(index)? = amount;
        Some(())
    }
}

/// The shared things of a VM.
#[derive(Default)]
pub struct Exchange {
    table: Mutex<Table>,
    limits: Amounts<Option<u64>>,
    launches: Option<Launches>,
}

/// The launches of a VM.
struct Launches {
    rate: Rate,
    portion: u32,
}

/// A session's part; what it shares ends with this.
pub struct Member {
    exchange: Arc<Exchange>,
    session: u64,
}

impl Member {
    /// Says how much the session has of a resource; whether the VM may have that much.
    pub fn have(&self, resource: Resource, amount: u64) -> bool {
        self.exchange.lock().note(self.session, resource, amount, self.exchange.limit(resource)).is_some()
    }
}

impl Exchange {
    /// An exchange of sessions that may have so much together.
    pub fn new(totals: &Totals) -> Exchange {
        let launches = |rate| Launches { rate: Rate::new(rate), portion: launches_in_portion(rate) };
        Exchange { table: Mutex::default(), limits: totals.amounts(), launches: totals.vm_launch_rate.map(launches) }
    }

    fn lock(&self) -> MutexGuard<'_, Table> {
        self.table.lock().unwrap_or_else(|poison| poison.into_inner())
    }

    fn limit(&self, resource: Resource) -> u64 {
        self.limits.get(resource as usize).copied().flatten().unwrap_or(u64::MAX)
    }

    /// Serves a new session; the descriptor is for its worker, the process `process`.
    pub fn join(self: &Arc<Self>, process: i32) -> io::Result<(Member, OwnedFd)> {
        let (near, far) = socket_pair()?;
        let session = {
            let mut table = self.lock();
            table.last += 1;
            let session = table.last;
            table.sessions.insert(session, Session { process: process.unsigned_abs(), has: Amounts::default() });
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
            if request.word == Op::Launch as u32 {
                self.await_launches();
            }
            let (answer, descriptor) = match self.answer(session, &request, descriptors.into_iter().next()) {
                Some((answer, descriptor)) => (Message { word: 1, ..answer }, descriptor),
                None => (Message::new(0), None),
            };
            let descriptors: Vec<_> = descriptor.iter().map(|fd| fd.as_fd()).collect();
            send(socket, answer.as_bytes(), &descriptors)?;
        }
    }

    /// Waits for the time of a portion of launches: others' of the session as well, which its worker's dispatcher makes.
    fn await_launches(&self) {
        if let Some(Launches { rate, portion }) = &self.launches {
            std::thread::sleep(rate.take(*portion, Instant::now()));
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
                let lives = table.sessions.values().any(|one| u64::from(one.process) == request.number);
                lives.then(|| (Message::new(0), None))
            }
            Op::Launch => Some((Message::new(0), None)),
            Op::Have => {
                let resource = Resource::ALL.into_iter().find(|resource| *resource as u32 == request.kind)?;
                // Pinned memory is counted where it is mapped, not where a worker says so.
                let own = resource != Resource::Pinned;
                let limit = self.limit(resource);
                own.then(|| table.note(session, resource, request.number, limit))?.map(|()| (Message::new(0), None))
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
    fn test_sessions_have_so_much_together_and_leave_it_to_others() {
        let exchange = Arc::new(Exchange::new(&Totals { vm_streams: Some(10), ..Totals::default() }));
        let ((first, a), (_b, b)) = (join(&exchange, 1), join(&exchange, 2));
        assert!(a.have(Resource::Streams, 7) && b.have(Resource::Streams, 3));
        assert!(!b.have(Resource::Streams, 4) && !a.have(Resource::Streams, u64::MAX));
        assert!(b.have(Resource::Contexts, 1 << 40), "no limit");
        assert!(a.have(Resource::Streams, 6) && b.have(Resource::Streams, 4), "less makes room");
        assert!(!a.have(Resource::Pinned, 1), "not a worker's to say");
        assert!(first.have(Resource::Pinned, 2 << 20));
        drop(first);
        assert!(b.have(Resource::Streams, 10), "an ended session has nothing");
        assert!(!a.have(Resource::Streams, 1));
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
