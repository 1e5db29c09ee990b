//! PTX front end: text to IR.
