//! Bytes to tokens.

use super::error::{text, Fail, Result};
use super::modifiers::Modifiers;
use crate::ir::PtxPos;

/// A lexical token; names borrow from the source.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Token<'a> {
    /// Identifier, keyword or register name, with its `%` or `$`.
    Ident(&'a [u8]),
    /// `.name`, without the dot.
    Directive(&'a [u8]),
    /// Integer literal, wrapped to 64 bits.
    Int(u64),
    /// `0f` literal, bits.
    F32(u32),
    /// `0d` or decimal literal, bits.
    F64(u64),
    /// Text between quotes, escapes not decoded.
    Str(&'a [u8]),
    Punct(u8),
    End,
}

const SPACE: u8 = 1;
const IDENT_START: u8 = 2;
const IDENT: u8 = 4;
const DIGIT: u8 = 8;

/// Character classes by byte.
const CLASS: [u8; 256] = {
    let mut table = [0u8; 256];
    let mut byte = 0usize;
    while byte < 256 {
        table[byte] = match byte as u8 {
            b' ' | b'\t' | b'\r' | b'\n' | 11 | 12 => SPACE,
            b'a'..=b'z' | b'A'..=b'Z' | b'_' | b'$' => IDENT_START | IDENT,
            b'%' => IDENT_START,
            b'0'..=b'9' => DIGIT | IDENT,
            _ => 0,
        };
        byte += 1;
    }
    table
};

fn is(byte: u8, class: u8) -> bool {
    CLASS[byte as usize] & class != 0
}

/// Position in a PTX text.
pub(super) struct Lexer<'a> {
    source: &'a [u8],
    at: usize,
    line: u32,
    line_start: usize,
}

impl<'a> Lexer<'a> {
    pub(super) fn new(source: &'a [u8]) -> Self {
        // cuModuleLoadData passes a NUL-terminated string.
        let end = source.iter().position(|&byte| byte == 0).unwrap_or(source.len());
        Lexer { source: &source[..end], at: 0, line: 1, line_start: 0 }
    }

    fn byte(&self, ahead: usize) -> u8 {
        self.source.get(self.at + ahead).copied().unwrap_or(0)
    }

    /// Position of the next byte.
    pub(super) fn pos(&self) -> PtxPos {
        PtxPos { line: self.line, column: (self.at - self.line_start) as u32 + 1 }
    }

    fn fail<T>(&self, message: String) -> Result<T> {
        Err(Fail::Invalid { at: Some(self.pos()), message })
    }

    fn newline(&mut self) {
        self.line += 1;
        self.line_start = self.at;
    }

    /// Skips white space and comments.
    pub(super) fn skip_space(&mut self) -> Result<()> {
        loop {
            let byte = self.byte(0);
            if is(byte, SPACE) {
                self.at += 1;
                if byte == b'\n' {
                    self.newline();
                }
            } else if byte == b'/' && self.byte(1) == b'/' {
                self.skip_line();
            } else if byte == b'/' && self.byte(1) == b'*' {
                self.skip_block_comment()?;
            } else {
                return Ok(());
            }
        }
    }

    /// Moves to the next line break.
    fn skip_line(&mut self) {
        let rest = &self.source[self.at..];
        self.at += rest.iter().position(|&byte| byte == b'\n').unwrap_or(rest.len());
    }

    fn skip_block_comment(&mut self) -> Result<()> {
        let start = self.pos();
        self.at += 2;
        while self.at < self.source.len() {
            let byte = self.byte(0);
            if byte == b'*' && self.byte(1) == b'/' {
                self.at += 2;
                return Ok(());
            }
            self.at += 1;
            if byte == b'\n' {
                self.newline();
            }
        }
        Err(Fail::Invalid { at: Some(start), message: "comment is not closed".into() })
    }

    /// Skips over a brace-enclosed part whose opening brace was read already.
    pub(super) fn skip_braces(&mut self) -> Result<()> {
        let mut depth = 1u32;
        while depth > 0 {
            match self.next()? {
                Token::Punct(b'{') => depth += 1,
                Token::Punct(b'}') => depth -= 1,
                Token::End => return self.fail("missing `}`".into()),
                _ => {}
            }
        }
        Ok(())
    }

    /// Skips to just before the next `;` or the end of the text.
    pub(super) fn skip_statement(&mut self) {
        while self.at < self.source.len() && self.byte(0) != b';' {
            let byte = self.byte(0);
            self.at += 1;
            if byte == b'\n' {
                self.newline();
            }
        }
    }

    fn take_while(&mut self, class: u8) -> &'a [u8] {
        let rest = &self.source[self.at..];
        let len = rest.iter().position(|&byte| !is(byte, class)).unwrap_or(rest.len());
        self.at += len;
        &rest[..len]
    }

    /// Reads the `.a.b::c` that follows an opcode.
    pub(super) fn modifiers(&mut self) -> Result<Modifiers<'a>> {
        let mut modifiers = Modifiers::default();
        loop {
            self.skip_space()?;
            if self.byte(0) != b'.' {
                return Ok(modifiers);
            }
            self.at += 1;
            let start = self.at;
            self.take_while(IDENT);
            while self.byte(0) == b':' && self.byte(1) == b':' {
                self.at += 2;
                self.take_while(IDENT);
            }
            let name = &self.source[start..self.at];
            if name.is_empty() || !modifiers.push(name) {
                return self.fail("malformed opcode modifier".into());
            }
        }
    }

    /// Reads a vector component (`.x`) directly behind a register name.
    pub(super) fn component(&mut self) -> Option<u8> {
        if self.byte(0) != b'.' || is(self.byte(2), IDENT) {
            return None;
        }
        let index = match self.byte(1) {
            b'x' | b'r' => 0,
            b'y' | b'g' => 1,
            b'z' | b'b' => 2,
            b'w' | b'a' => 3,
            _ => return None,
        };
        self.at += 2;
        Some(index)
    }

    /// Reads a selection of bytes or half-words (`.b0`, `.h10`) directly behind a register name.
    pub(super) fn selector(&mut self) -> Option<&'a [u8]> {
        if self.byte(0) != b'.' || !matches!(self.byte(1), b'b' | b'h') || !is(self.byte(2), DIGIT) {
            return None;
        }
        self.at += 1;
        Some(self.take_while(IDENT))
    }

    /// Whether a name comes next.
    pub(super) fn at_ident(&mut self) -> Result<bool> {
        self.skip_space()?;
        Ok(is(self.byte(0), IDENT_START))
    }

    /// The next token, behind white space and comments.
    pub(super) fn next(&mut self) -> Result<Token<'a>> {
        self.skip_space()?;
        if self.at >= self.source.len() {
            return Ok(Token::End);
        }
        let start = self.at;
        let byte = self.byte(0);
        if is(byte, IDENT_START) {
            self.at += 1;
            self.take_while(IDENT);
            return Ok(Token::Ident(&self.source[start..self.at]));
        }
        if is(byte, DIGIT) || byte == b'.' && is(self.byte(1), DIGIT) {
            return self.number();
        }
        match byte {
            b'.' => {
                self.at += 1;
                let name = self.take_while(IDENT);
                if name.is_empty() {
                    return self.fail("a name must follow `.`".into());
                }
                Ok(Token::Directive(name))
            }
            b'"' => self.string(),
            b'!'..=b'~' => {
                self.at += 1;
                Ok(Token::Punct(byte))
            }
            _ => self.fail(format!("unexpected byte 0x{byte:02x}")),
        }
    }

    fn string(&mut self) -> Result<Token<'a>> {
        self.at += 1;
        let start = self.at;
        loop {
            match self.byte(0) {
                b'"' => break,
                b'\\' => self.at += 2,
                b'\n' => return self.fail("string is not closed".into()),
                _ => self.at += 1,
            }
            if self.at >= self.source.len() {
                self.at = self.source.len();
                return self.fail("string is not closed".into());
            }
        }
        let content = &self.source[start..self.at];
        self.at += 1;
        Ok(Token::Str(content))
    }

    fn number(&mut self) -> Result<Token<'a>> {
        match (self.byte(0), self.byte(1)) {
            (b'0', b'f' | b'F') => Ok(Token::F32(self.float_bits(8)? as u32)),
            (b'0', b'd' | b'D') => Ok(Token::F64(self.float_bits(16)?)),
            (b'0', b'x' | b'X') => self.integer(2, 16),
            (b'0', b'b' | b'B') => self.integer(2, 2),
            _ if self.is_decimal_float() => self.decimal_float(),
            (b'0', _) => self.integer(0, 8),
            _ => self.integer(0, 10),
        }
    }

    /// `0f` or `0d` and exactly `digits` hexadecimal digits.
    fn float_bits(&mut self, digits: usize) -> Result<u64> {
        let start = self.pos();
        self.at += 2;
        let body = self.take_while(IDENT);
        let value = std::str::from_utf8(body).ok().and_then(|body| u64::from_str_radix(body, 16).ok());
        match value {
            Some(value) if body.len() == digits => Ok(value),
            _ => Err(Fail::Invalid {
                at: Some(start),
                message: format!("floating-point literal needs {digits} hexadecimal digits"),
            }),
        }
    }

    fn integer(&mut self, prefix: usize, radix: u32) -> Result<Token<'a>> {
        let start = self.pos();
        self.at += prefix;
        let body = self.take_while(IDENT);
        let digits = match body {
            [digits @ .., b'U' | b'u'] => digits,
            _ => body,
        };
        let mut value = Some(0u64);
        for &byte in digits {
            let digit = (byte as char).to_digit(radix);
            value = value
                .and_then(|value| value.checked_mul(radix.into()))
                .and_then(|value| value.checked_add(digit?.into()));
        }
        match value {
            Some(value) if !digits.is_empty() => Ok(Token::Int(value)),
            _ => Err(Fail::Invalid {
                at: Some(start),
                message: format!("`{}` is not a valid integer literal", text(body)),
            }),
        }
    }

    fn is_decimal_float(&self) -> bool {
        let rest = &self.source[self.at..];
        let digits = rest.iter().take_while(|byte| byte.is_ascii_digit()).count();
        matches!(rest.get(digits), Some(b'.' | b'e' | b'E'))
    }

    fn decimal_float(&mut self) -> Result<Token<'a>> {
        let start = self.at;
        let at = self.pos();
        self.take_while(DIGIT);
        if self.byte(0) == b'.' {
            self.at += 1;
            self.take_while(DIGIT);
        }
        if matches!(self.byte(0), b'e' | b'E') {
            self.at += 1;
            if matches!(self.byte(0), b'+' | b'-') {
                self.at += 1;
            }
            self.take_while(DIGIT);
        }
        let literal = &self.source[start..self.at];
        let value = std::str::from_utf8(literal).ok().and_then(|literal| literal.parse::<f64>().ok());
        match value {
            Some(value) => Ok(Token::F64(value.to_bits())),
            None => Err(Fail::Invalid { at: Some(at), message: format!("`{}` is not a valid number", text(literal)) }),
        }
    }

    /// Whether a floating-point literal comes next.
    pub(super) fn at_float(&mut self) -> Result<bool> {
        self.skip_space()?;
        let radix_float = self.byte(0) == b'0' && matches!(self.byte(1), b'f' | b'F' | b'd' | b'D');
        Ok(radix_float || self.is_decimal_float())
    }

    /// Whether a `:` that is not part of `::` comes next; if so, consumes it.
    pub(super) fn accept_label_colon(&mut self) -> Result<bool> {
        self.skip_space()?;
        let found = self.byte(0) == b':' && self.byte(1) != b':';
        if found {
            self.at += 1;
        }
        Ok(found)
    }
}
