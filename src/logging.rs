//! Log lines on standard error.

use std::fs::File;

use env_logger::{Env, Target};
use log::LevelFilter;

/// Starts logging; `RUST_LOG` wins over `level`. With `messages`, lines go there.
pub fn start(level: LevelFilter, messages: Option<File>) {
    let mut builder = env_logger::Builder::from_env(Env::default().default_filter_or(level.as_str()));
    if let Some(file) = messages {
        builder.target(Target::Pipe(Box::new(file)));
    }
    builder.format_target(false).init();
    std::panic::set_hook(Box::new(|info| log::error!("{info}")));
}
