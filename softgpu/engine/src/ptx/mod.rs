//! PTX front end: text to [`crate::ir`].
//!
//! One pass over the text. [`lexer`] makes tokens, [`cursor`] looks one ahead,
//! [`module`] reads directives, [`body`] reads statements of a function and
//! [`lower`] turns each instruction into an operation of the IR, which
//! [`builder`] collects into blocks. Shared memory is laid out at the end.

mod body;
mod builder;
mod cursor;
mod error;
mod header;
mod lexer;
mod lower;
mod modifiers;
mod module;
mod operand;
mod resolve;
mod scope;
mod shared;
mod special;
mod tables;
mod variable;

pub use error::Error;
pub use header::target_number;
pub use module::UNRESOLVED;

use crate::ir::{Module, PtxPos};
use error::Fail;

/// Compiles a PTX text, up to its first NUL byte.
///
/// A function with an instruction that is valid but cannot be executed gets
/// [`crate::ir::Function::unsupported`]; everything else of the module is usable.
///
/// # Errors
/// The first place where the text is not valid PTX.
pub fn compile(source: &[u8]) -> Result<Module, Error> {
    let module = module::compile(source).map_err(|fail| match fail {
        Fail::Invalid { at, message } => Error::new(source, at.unwrap_or_default(), message),
        Fail::Unsupported(what) => Error::new(source, PtxPos::default(), what),
    })?;
    debug_assert_eq!(crate::ir::verify(&module), Ok(()));
    Ok(module)
}
