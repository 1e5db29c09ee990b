//! Token stream with one token of lookahead, and the syntax shared by directives
//! and instructions.

use super::error::{text, Fail, Result};
use super::lexer::{Lexer, Token};
use crate::ir::PtxPos;

/// Deepest nesting of a constant expression.
const EXPRESSION_DEPTH: u32 = 32;

pub(super) struct Cursor<'a> {
    pub(super) lexer: Lexer<'a>,
    /// The token under the cursor.
    pub(super) token: Token<'a>,
    /// Position of `token`.
    pub(super) at: PtxPos,
}

impl<'a> Cursor<'a> {
    pub(super) fn new(source: &'a [u8]) -> Result<Self> {
        let mut cursor = Cursor { lexer: Lexer::new(source), token: Token::End, at: PtxPos::default() };
        cursor.advance()?;
        Ok(cursor)
    }

    /// Moves to the next token and returns the one left behind.
    pub(super) fn advance(&mut self) -> Result<Token<'a>> {
        self.lexer.skip_space()?;
        self.at = self.lexer.pos();
        let next = self.lexer.next()?;
        Ok(std::mem::replace(&mut self.token, next))
    }

    /// An error at the token under the cursor.
    pub(super) fn fail<T>(&self, message: impl Into<String>) -> Result<T> {
        Err(Fail::Invalid { at: Some(self.at), message: message.into() })
    }

    /// An error that names the token under the cursor.
    pub(super) fn unexpected<T>(&self, wanted: &str) -> Result<T> {
        let found = match self.token {
            Token::Ident(name) => format!("`{}`", text(name)),
            Token::Directive(name) => format!("`.{}`", text(name)),
            Token::Int(_) | Token::F32(_) | Token::F64(_) => "a number".into(),
            Token::Str(_) => "a string".into(),
            Token::Punct(byte) => format!("`{}`", byte as char),
            Token::End => "the end of the text".into(),
        };
        self.fail(format!("expected {wanted}, found {found}"))
    }

    pub(super) fn accept(&mut self, punct: u8) -> Result<bool> {
        let found = self.token == Token::Punct(punct);
        if found {
            self.advance()?;
        }
        Ok(found)
    }

    pub(super) fn expect(&mut self, punct: u8) -> Result<()> {
        if self.accept(punct)? {
            return Ok(());
        }
        self.unexpected(&format!("`{}`", punct as char))
    }

    pub(super) fn accept_directive(&mut self, name: &str) -> Result<bool> {
        let found = matches!(self.token, Token::Directive(found) if found == name.as_bytes());
        if found {
            self.advance()?;
        }
        Ok(found)
    }

    pub(super) fn ident(&mut self) -> Result<&'a [u8]> {
        match self.token {
            Token::Ident(name) => {
                self.advance()?;
                Ok(name)
            }
            _ => self.unexpected("a name"),
        }
    }

    /// An integer constant expression.
    pub(super) fn integer(&mut self) -> Result<u64> {
        self.binary_expression(0, 0)
    }

    /// An integer constant that fits 32 bits.
    pub(super) fn integer_u32(&mut self) -> Result<u32> {
        let at = self.at;
        let value = self.integer()?;
        value.try_into().map_err(|_| Fail::Invalid { at: Some(at), message: format!("{value} is too large") })
    }

    fn binary_expression(&mut self, lowest: u8, depth: u32) -> Result<u64> {
        let mut left = self.unary_expression(depth)?;
        while let Token::Punct(operator) = self.token {
            let precedence = match operator {
                b'|' => 1,
                b'^' => 2,
                b'&' => 3,
                b'+' | b'-' => 5,
                b'*' | b'/' | b'%' => 6,
                _ => return Ok(left),
            };
            if precedence <= lowest {
                return Ok(left);
            }
            self.advance()?;
            let right = self.binary_expression(precedence, depth + 1)?;
            left = match operator {
                b'|' => left | right,
                b'^' => left ^ right,
                b'&' => left & right,
                b'+' => left.wrapping_add(right),
                b'-' => left.wrapping_sub(right),
                b'*' => left.wrapping_mul(right),
                b'/' | b'%' if right == 0 => return self.fail("division by zero in a constant"),
                b'/' => left / right,
                _ => left % right,
            };
        }
        Ok(left)
    }

    fn unary_expression(&mut self, depth: u32) -> Result<u64> {
        if depth > EXPRESSION_DEPTH {
            return self.fail("constant expression is nested too deeply");
        }
        match self.token {
            Token::Int(value) => {
                self.advance()?;
                Ok(value)
            }
            Token::Punct(operator @ (b'-' | b'~' | b'!' | b'+')) => {
                self.advance()?;
                let value = self.unary_expression(depth + 1)?;
                Ok(match operator {
                    b'-' => value.wrapping_neg(),
                    b'~' => !value,
                    b'!' => u64::from(value == 0),
                    _ => value,
                })
            }
            Token::Punct(b'(') => {
                self.advance()?;
                let value = self.binary_expression(0, depth + 1)?;
                self.expect(b')')?;
                Ok(value)
            }
            _ => self.unexpected("an integer"),
        }
    }

    /// Skips `.pragma`-like statements up to and including the `;`.
    pub(super) fn skip_to_semicolon(&mut self) -> Result<()> {
        while self.token != Token::Punct(b';') {
            if self.token == Token::End {
                return self.unexpected("`;`");
            }
            self.advance()?;
        }
        self.advance()?;
        Ok(())
    }

    /// Skips `{ … }`; the cursor is on the opening brace.
    pub(super) fn skip_braces(&mut self) -> Result<()> {
        if self.token != Token::Punct(b'{') {
            return self.unexpected("`{`");
        }
        self.lexer.skip_braces()?;
        self.advance()?;
        Ok(())
    }
}
