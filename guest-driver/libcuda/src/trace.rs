//! What the library says: with `VGPU_LOG=1` why something failed, with `VGPU_TRACE=1` a summary of
//! the calls at exit. Otherwise only what a person must know.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, OnceLock, PoisonError};

use crate::log::{self, Level};

static TRACING: AtomicBool = AtomicBool::new(false);
static CALLS: Mutex<Option<HashMap<&'static str, u64>>> = Mutex::new(None);
static REFUSED: Mutex<Vec<&'static str>> = Mutex::new(Vec::new());

fn is_set(variable: &str) -> bool {
    std::env::var_os(variable).is_some_and(|value| value != "0" && !value.is_empty())
}

/// Explains a failure in the log, and to the user if asked for with `VGPU_LOG`.
pub fn explain(message: impl FnOnce() -> String) {
    static EXPLAIN: OnceLock<bool> = OnceLock::new();
    let message = message();
    if *EXPLAIN.get_or_init(|| is_set("VGPU_LOG")) {
        eprintln!("vgpu: {message}");
    }
    log::add(Level::Error, &message);
}

/// Says something that the user must know.
pub fn warn(message: &str) {
    eprintln!("vgpu: {message}");
    log::add(Level::Warning, message);
}

/// As [`warn`], for the first of many messages of one kind.
pub fn warn_once(message: &str) {
    static SAID: AtomicBool = AtomicBool::new(false);
    if !SAID.swap(true, Ordering::Relaxed) {
        warn(message);
    }
}

/// Starts counting calls if `VGPU_TRACE` asks for it.
pub fn start() {
    TRACING.store(is_set("VGPU_TRACE"), Ordering::Relaxed);
}

/// Counts a call.
pub fn count(name: &'static str) {
    if TRACING.load(Ordering::Relaxed) {
        let mut calls = CALLS.lock().unwrap_or_else(PoisonError::into_inner);
        *calls.get_or_insert_default().entry(name).or_default() += 1;
    }
}

/// Prints the summary.
pub fn summarise(round_trips: u64) {
    if !TRACING.load(Ordering::Relaxed) {
        return;
    }
    let calls = CALLS.lock().unwrap_or_else(PoisonError::into_inner).take().unwrap_or_default();
    let mut calls: Vec<_> = calls.into_iter().collect();
    calls.sort_by(|a, b| b.1.cmp(&a.1).then(a.0.cmp(b.0)));
    let total: u64 = calls.iter().map(|(_, count)| count).sum();
    eprintln!("vgpu: {total} calls, {round_trips} round trips");
    for (name, count) in calls {
        eprintln!("vgpu: {count:>10} {name}");
    }
}

/// Names something that is not implemented, once.
pub fn refused(name: &'static str) {
    refused_because(name, "it is not implemented");
}

/// Names something that is refused on purpose, once, with the reason.
pub fn refused_because(name: &'static str, reason: &str) {
    let mut refused = REFUSED.lock().unwrap_or_else(PoisonError::into_inner);
    if !refused.contains(&name) {
        refused.push(name);
        warn(&format!("{name}: CUDA_ERROR_NOT_SUPPORTED: {reason}"));
    }
}
