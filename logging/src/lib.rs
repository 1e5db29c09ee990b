//! Log lines of processes that serve others, who can cause them: as many as they like, and with what they like in
//! them. So a process writes a burst of lines, and then so many a second; what is left out is counted, and the
//! count is told with the next line. A line is one line, however it came about.
//!
//! Lines that are for people who look for errors (debug, trace) are not limited: nobody has them by default.

#![forbid(unsafe_code)]

mod limit;
mod line;

use std::fs::File;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::OnceLock;

use env_logger::{Builder, Env, Target};
use log::{Level, LevelFilter, Log, Metadata, Record};

pub use limit::{Limit, Shared};
use line::Line;

/// What this process may say by itself.
static OWN: Shared = Shared::new();
static LOGGER: OnceLock<Limited> = OnceLock::new();

/// How lines are limited.
pub struct Limits {
    /// Lines of this process.
    pub own: Limit,
    /// Lines of all processes that have the same memory.
    pub all: Option<Limit>,
    /// That memory. Lines that are left out are counted there.
    pub shared: Option<&'static Shared>,
}

/// Starts logging on standard error, or to `messages`; `RUST_LOG` wins over `level`. Panics are log lines.
pub fn start(level: LevelFilter, messages: Option<File>, limits: Limits) {
    let mut builder = Builder::from_env(Env::default().default_filter_or(level.as_str()));
    if let Some(file) = messages {
        builder.target(Target::Pipe(Box::new(file)));
    }
    // The way to the clock is found once, by calls that a sandbox may forbid later.
    limit::now();
    let lines = builder.format_target(false).build();
    log::set_max_level(lines.filter());
    // A second logger of a process would be an error of ours; the first one stays.
    let _ = log::set_logger(LOGGER.get_or_init(|| Limited { lines, limits }));
    std::panic::set_hook(Box::new(|info| log::error!("{info}")));
}

/// Tells how many lines were left out, if any were and a line may be written.
pub fn tell_left_out() {
    if let Some(logger) = LOGGER.get().filter(|logger| logger.left_out().load(Ordering::Relaxed) > 0) {
        if logger.admits(Level::Warn) {
            logger.tell();
        }
    }
}

struct Limited {
    lines: env_logger::Logger,
    limits: Limits,
}

impl Limited {
    fn left_out(&self) -> &'static AtomicU64 {
        &self.limits.shared.unwrap_or(&OWN).left_out
    }

    /// Whether a line of that level may be written now.
    fn admits(&self, level: Level) -> bool {
        if level > Level::Info {
            return true;
        }
        let now = limit::now();
        // Its own first: what a process may not say takes nothing from others.
        self.limits.own.take(&OWN, level, now)
            && self.limits.all.zip(self.limits.shared).is_none_or(|(limit, shared)| limit.take(shared, level, now))
    }

    fn tell(&self) {
        let count = self.left_out().swap(0, Ordering::Relaxed);
        if count > 0 {
            let text = format_args!("{count} log lines before this one were left out: there were too many at a time");
            self.lines.log(&Record::builder().level(Level::Warn).target(module_path!()).args(text).build());
        }
    }
}

impl Log for Limited {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        self.lines.enabled(metadata)
    }

    fn log(&self, record: &Record<'_>) {
        if !self.lines.matches(record) {
            return;
        }
        if !self.admits(record.level()) {
            self.left_out().fetch_add(1, Ordering::Relaxed);
            return;
        }
        self.tell();
        let mut line = Record::builder();
        line.metadata(record.metadata().clone()).module_path(record.module_path());
        self.lines.log(&line.args(format_args!("{}", Line(*record.args()))).build());
    }

    fn flush(&self) {
        self.lines.flush();
    }
}
