//! The supervisor's end of the process that asks NVML.

use std::io;
use std::os::fd::OwnedFd;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use rustix::net::sockopt::{set_socket_timeout, Timeout};
use vgpu_protocol::control::BackendStatus;
use zerocopy::{FromZeros, IntoBytes};

use super::launcher::{Launcher, Start};
use super::process::wait;
use crate::args::Mode;
use crate::channel::{is_readable, receive, send, socket_pair};
use crate::monitor::Reading;

/// How long an answer is waited for. One that comes later, as the first where NVML takes long to start, is for nobody.
const PATIENCE: Duration = Duration::from_secs(1);
/// Answers as old as this are as good as new ones: GPUs measure no more often.
const FRESH: Duration = Duration::from_millis(100);

/// Tells what GPUs say of their state, if anybody can.
#[derive(Default)]
pub struct Monitor(Mutex<State>);

#[derive(Default)]
struct State {
    socket: Option<OwnedFd>,
    /// An answer is still to come.
    late: bool,
    /// The last readings by UUID.
    known: Vec<([u8; 16], Instant, Reading)>,
}

impl Monitor {
    /// Starts the process.
    pub fn start(launcher: &Launcher) -> io::Result<Monitor> {
        let (near, far) = socket_pair()?;
        set_socket_timeout(&near, Timeout::Recv, Some(PATIENCE))?;
        let pid = launcher.launch(Start::new(Mode::Monitor), &far)?;
        std::thread::Builder::new().name("monitor".into()).spawn(move || {
            if let Ok(end) = wait(pid) {
                log::debug!("the process that asks NVML ended ({end})");
            }
        })?;
        Ok(Monitor(Mutex::new(State { socket: Some(near), ..State::default() })))
    }

    /// What is known of a GPU by now.
    pub fn read(&self, uuid: &[u8; 16]) -> Option<Reading> {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let known = state.known.iter().find(|(other, at, _)| other == uuid && at.elapsed() < FRESH);
        if let Some((_, _, reading)) = known {
            return Some(*reading);
        }
        match state.ask(uuid) {
            Ok(reading) => {
                state.known.retain(|(other, _, _)| other != uuid);
                state.known.push((*uuid, Instant::now(), reading));
                Some(reading)
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                state.late = true;
                None
            }
            Err(error) => {
                log::debug!("NVML does not answer: {error}");
                state.socket = None;
                None
            }
        }
    }
}

impl State {
    fn ask(&mut self, uuid: &[u8; 16]) -> io::Result<Reading> {
        let socket = self.socket.as_ref().ok_or(io::ErrorKind::NotConnected)?;
        if self.late {
            if !is_readable(socket, Instant::now())? {
                return Err(io::ErrorKind::WouldBlock.into());
            }
            answer(socket)?;
            self.late = false;
        }
        send(socket, uuid, &[])?;
        answer(socket)
    }
}

fn answer(socket: &OwnedFd) -> io::Result<Reading> {
    let mut reading = Reading::new_zeroed();
    let (length, _) = receive(socket, reading.as_mut_bytes())?;
    if length == size_of::<Reading>() {
        Ok(reading)
    } else {
        Err(io::ErrorKind::UnexpectedEof.into())
    }
}

impl Reading {
    /// GPU memory of a process, bytes, as far as it is told.
    pub fn memory_of(&self, pid: i32) -> Option<u64> {
        let processes = self.processes.iter().take(self.count as usize);
        let known = |memory: &u64| *memory != u64::MAX;
        processes.filter(|process| i64::from(process.pid) == i64::from(pid)).map(|process| process.memory).find(known)
    }

    /// Puts the GPU's own figures into `status`.
    pub fn tell(&self, status: &mut BackendStatus) {
        status.driver_release = self.release;
        status.sensors = self.sensors;
    }
}
