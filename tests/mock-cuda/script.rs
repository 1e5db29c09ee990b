//! What tests have the mock's calls do, and the log of its calls.
//!
//! `MOCK_SCRIPT` has rules, separated by commas: `FUNCTION@N=ERROR` has the N-th call of a function in a
//! process answer that error, `FUNCTION@N+=ERROR` that one and all after it; with `block` for the error the
//! call never returns, with `block-first` only in the first process that gets there. `worker:` before a rule keeps
//! it to processes that serve a session. `MOCK_CALLS` names a file to which each call adds a line: process and
//! function. `block-first` makes a file of that name with `.blocked` behind it.

use std::collections::HashMap;
use std::fs::File;
use std::io::Write;
use std::sync::{Mutex, OnceLock, PoisonError};

use vgpu_protocol::cuda::CUresult;

enum Action {
    Fail(CUresult),
    Block,
    BlockFirst,
}

struct Rule {
    /// In workers only.
    of_worker: bool,
    function: String,
    first: u64,
    /// Later calls too.
    stays: bool,
    action: Action,
}

impl Rule {
    fn parse(text: &str) -> Option<Rule> {
        let (of_worker, text) = text.strip_prefix("worker:").map_or((false, text), |text| (true, text));
        let (call, action) = text.split_once('=')?;
        let (function, number) = call.split_once('@')?;
        let stays = number.ends_with('+');
        let first = number.trim_end_matches('+').parse().ok()?;
        let action = match action {
            "block" => Action::Block,
            "block-first" => Action::BlockFirst,
            error => Action::Fail(CUresult(error.parse().ok()?)),
        };
        Some(Rule { of_worker, function: function.into(), first, stays, action })
    }

    fn applies(&self, function: &str, number: u64) -> bool {
        self.function == function && (number == self.first || (self.stays && number > self.first))
    }
}

struct Script {
    rules: Vec<Rule>,
    log: Option<File>,
    /// Calls so far.
    counts: Mutex<HashMap<&'static str, u64>>,
}

impl Script {
    /// What the environment says, if anything.
    fn read() -> Option<Script> {
        let rules = std::env::var("MOCK_SCRIPT").ok();
        let log = std::env::var_os("MOCK_CALLS").map(|path| File::options().append(true).create(true).open(path));
        if rules.is_none() && log.is_none() {
            return None;
        }
        let parse = |rule: &str| Rule::parse(rule).unwrap_or_else(|| panic!("MOCK_SCRIPT: {rule}"));
        let is_worker = std::env::args().nth(1).as_deref() == Some("worker");
        let rules = rules.iter().flat_map(|rules| rules.split(',')).map(parse);
        let rules = rules.filter(|rule| is_worker || !rule.of_worker).collect();
        Some(Script { rules, log: log.map(Result::unwrap), counts: Mutex::default() })
    }

    fn enter(&self, function: &'static str) -> CUresult {
        if let Some(mut log) = self.log.as_ref() {
            log.write_all(format!("{} {function}\n", std::process::id()).as_bytes()).unwrap();
        }
        let number = {
            let mut counts = self.counts.lock().unwrap_or_else(PoisonError::into_inner);
            let count = counts.entry(function).or_default();
            *count += 1;
            *count
        };
        match self.rules.iter().find(|rule| rule.applies(function, number)).map(|rule| &rule.action) {
            None => CUresult::SUCCESS,
            Some(Action::Fail(error)) => *error,
            Some(Action::BlockFirst) if !is_first() => CUresult::SUCCESS,
            Some(Action::Block | Action::BlockFirst) => loop {
                std::thread::park();
            },
        }
    }
}

/// Whether this process is the first of all to ask.
fn is_first() -> bool {
    let path = std::env::var("MOCK_CALLS").expect("block-first needs MOCK_CALLS");
    File::create_new(path + ".blocked").is_ok()
}

/// Every call starts with this; an error is its answer.
pub fn enter(function: &'static str) -> CUresult {
    static SCRIPT: OnceLock<Option<Script>> = OnceLock::new();
    SCRIPT.get_or_init(Script::read).as_ref().map_or(CUresult::SUCCESS, |script| script.enter(function))
}
