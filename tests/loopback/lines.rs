//! What guests cause in the host's log.

use rustix::process::Signal;
use vgpu_protocol::control::ControlStatus;
use vgpu_protocol::{cmd, HandleKind};

use crate::backend::Backend;
use crate::client::Client;
use crate::vm::Vm;

/// What the backend wrote, when it has ended.
fn log_of(mut backend: Backend) -> Vec<String> {
    backend.signal(Signal::TERM);
    let (code, text) = backend.end();
    assert_eq!(code, Some(0), "{text}");
    text.lines().map(str::to_owned).collect()
}

/// Lines with `text`, and how many lines were left out as the others say.
fn count(log: &[String], text: &str) -> (usize, usize) {
    let left_out = log.iter().filter_map(|line| {
        let (before, _) = line.split_once(" log lines before this one were left out")?;
        before.rsplit(' ').next()?.parse::<usize>().ok()
    });
    (log.iter().filter(|line| line.contains(text)).count(), left_out.sum())
}

/// Has `client` ask for `number` streams, none of which it may have. `number` is a multiple of 100.
fn ask_for_streams(client: &mut Client, vm: &Vm, number: usize) {
    let create = cmd::CuStreamCreate { phStream: client.mint(HandleKind::Stream), Flags: 0 };
    for _ in 0..number / 100 {
        let batch = (0..100).fold(client.batch(0), |batch, _| batch.with(&create)).with(&cmd::CuMemGetInfoV2 {});
        let sent = client.send_batch(vm, &batch);
        assert_ne!(client.wait(vm, sent).0.latched, 0);
    }
}

const WARNING: &str = "the session has used up its quota of objects";

#[test]
fn test_what_a_session_causes_is_logged_up_to_a_limit_and_counted() {
    let backend = Backend::start_with(&["--max-streams", "0"]);
    let mut vm = Vm::start(&backend.socket());
    let mut client = Client::open(&mut vm, 1);
    ask_for_streams(&mut client, &vm, 100_000);
    // The end of a session tells the count.
    assert_eq!(vm.destroy(1), ControlStatus::Ok);
    let log = log_of(backend);
    let (written, left_out) = count(&log, WARNING);
    assert_eq!(written + left_out, 100_000);
    assert!((100..1000).contains(&written), "{written}");
}

#[test]
fn test_sessions_together_are_logged_up_to_a_limit() {
    let backend = Backend::start_with(&["--max-streams", "0"]);
    let mut vm = Vm::start(&backend.socket());
    for _ in 0..30 {
        let mut client = Client::open(&mut vm, 1);
        ask_for_streams(&mut client, &vm, 200);
        assert_eq!(vm.destroy(1), ControlStatus::Ok);
    }
    let log = log_of(backend);
    let (written, left_out) = count(&log, WARNING);
    assert_eq!(written + left_out, 6000);
    assert!((1000..2000).contains(&written), "{written}");
}
