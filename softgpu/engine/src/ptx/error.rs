//! Why a PTX text was rejected, and where.

use crate::ir::PtxPos;
use std::fmt;

/// Longest part of the source line kept in an [`Error`], in bytes.
const EXCERPT_LIMIT: usize = 160;

/// The text is not valid PTX.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Error {
    /// Line of the PTX text, from 1.
    pub line: u32,
    /// Byte column in that line, from 1.
    pub column: u32,
    pub message: String,
    /// The source line, shortened if it is long.
    pub excerpt: String,
}

impl Error {
    pub(super) fn new(source: &[u8], at: PtxPos, message: String) -> Error {
        let line = source.split(|&byte| byte == b'\n').nth(at.line.saturating_sub(1) as usize).unwrap_or_default();
        let shown = &line[..line.len().min(EXCERPT_LIMIT)];
        Error {
            line: at.line,
            column: at.column,
            message,
            excerpt: String::from_utf8_lossy(shown).trim_end().replace('\t', " "),
        }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "line {}, column {}: error: {}", self.line, self.column, self.message)?;
        if self.excerpt.is_empty() {
            return Ok(());
        }
        write!(f, "\n    {}", self.excerpt)?;
        let column = self.column as usize;
        if column <= self.excerpt.len() {
            write!(f, "\n    {:>column$}", '^')?;
        }
        Ok(())
    }
}

impl std::error::Error for Error {}

/// Outcome of a step of the front end.
pub(super) type Result<T> = std::result::Result<T, Fail>;

/// What stopped a step.
#[derive(Debug)]
pub(super) enum Fail {
    /// The text is wrong; `at` is `None` for the statement's own position.
    Invalid { at: Option<PtxPos>, message: String },
    /// The statement is valid, but no engine can execute it.
    Unsupported(String),
}

/// An [`Fail::Invalid`] at the current statement.
pub(super) fn invalid<T>(message: impl Into<String>) -> Result<T> {
    Err(Fail::Invalid { at: None, message: message.into() })
}

/// An [`Fail::Unsupported`].
pub(super) fn unsupported<T>(what: impl Into<String>) -> Result<T> {
    Err(Fail::Unsupported(what.into()))
}

/// A name of the source, in full.
pub(super) fn full_name(name: &[u8]) -> String {
    String::from_utf8_lossy(name).into_owned()
}

/// A name of the source as text for a message.
pub(super) fn text(name: &[u8]) -> String {
    const LIMIT: usize = 200;
    let shown = String::from_utf8_lossy(&name[..name.len().min(LIMIT)]).into_owned();
    if name.len() > LIMIT {
        shown + "…"
    } else {
        shown
    }
}
