//! Parameter layouts in PTX text: each `.entry` lists its `.param` variables, which lie one behind the other
//! as they are aligned (PTX ISA, "Kernel Function Parameters"). Nothing else of the text is looked at, so that
//! it may be of any version.

use vgpu_protocol::ParamInfo;

use crate::bytes::until_nul;
use crate::PARAMS_MAX;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Token<'a> {
    /// A name or number, or a directive with its dot.
    Word(&'a [u8]),
    /// What is between quotes.
    Text,
    Sign(u8),
}

struct Tokens<'a> {
    rest: &'a [u8],
}

impl<'a> Tokens<'a> {
    fn skip(&mut self, count: usize) {
        self.rest = self.rest.get(count..).unwrap_or_default();
    }

    /// Goes behind the next `end`, or to the end of the text.
    fn skip_past(&mut self, end: &[u8]) {
        let found = self.rest.windows(end.len()).position(|window| window == end);
        self.skip(found.map_or(self.rest.len(), |at| at + end.len()));
    }

    /// Goes behind the closing quote.
    fn skip_text(&mut self) {
        loop {
            match *self.rest {
                [] => return,
                [b'"', ..] => return self.skip(1),
                [b'\\', ..] => self.skip(2),
                _ => self.skip(1),
            }
        }
    }
}

impl<'a> Iterator for Tokens<'a> {
    type Item = Token<'a>;

    fn next(&mut self) -> Option<Token<'a>> {
        let is_word = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'$' | b'%');
        loop {
            match *self.rest {
                [] => return None,
                [b'/', b'/', ..] => self.skip_past(b"\n"),
                [b'/', b'*', ..] => {
                    self.skip(2);
                    self.skip_past(b"*/");
                }
                [b'"', ..] => {
                    self.skip(1);
                    self.skip_text();
                    return Some(Token::Text);
                }
                [first, ref behind @ ..] if first == b'.' || is_word(&first) => {
                    let length = 1 + behind.iter().take_while(|byte| is_word(byte)).count();
                    let (word, rest) = self.rest.split_at_checked(length)?;
                    self.rest = rest;
                    return Some(Token::Word(word));
                }
                [first, ..] => {
                    self.skip(1);
                    if !first.is_ascii_whitespace() {
                        return Some(Token::Sign(first));
                    }
                }
            }
        }
    }
}

/// Tells each kernel of a text with its parameters, `None` if these cannot be read.
pub(crate) fn kernels(text: &[u8], tell: &mut impl FnMut(&[u8], Option<Vec<ParamInfo>>)) {
    let mut tokens = Tokens { rest: until_nul(text) };
    while let Some(token) = tokens.next() {
        if token != Token::Word(b".entry") {
            continue;
        }
        let Some(Token::Word(name)) = tokens.next() else { continue };
        // Nothing of the list is lost if it is no list: the next kernel may begin there.
        let mut ahead = Tokens { rest: tokens.rest };
        let params = match ahead.next() {
            Some(Token::Sign(b'(')) => parameters(&mut ahead),
            _ => Some(Vec::new()),
        };
        tell(name, params);
    }
}

/// The list behind its opening bracket.
fn parameters(tokens: &mut Tokens<'_>) -> Option<Vec<ParamInfo>> {
    let mut params = Vec::new();
    let mut end = 0u32;
    let mut token = tokens.next()?;
    while token != Token::Sign(b')') {
        if token != Token::Word(b".param") {
            return None;
        }
        let (size, align, behind) = parameter(tokens)?;
        let offset = end.checked_next_multiple_of(align)?;
        end = offset.checked_add(size).filter(|end| *end <= PARAMS_MAX)?;
        params.push(ParamInfo { offset, size });
        token = match behind {
            Token::Sign(b',') => tokens.next()?,
            end => end,
        };
    }
    Some(params)
}

/// Size and alignment of the parameter behind its `.param`, bytes, and what comes behind its name.
fn parameter<'a>(tokens: &mut Tokens<'a>) -> Option<(u32, u32, Token<'a>)> {
    let mut align = None;
    let mut element = None;
    loop {
        let Token::Word(word) = tokens.next()? else { return None };
        match word {
            // Behind `.ptr` it is that of what is pointed to.
            b".align" => {
                let bytes = Some(number(tokens)?).filter(|align| align.is_power_of_two())?;
                align = align.or(element.is_none().then_some(bytes));
            }
            b".ptr" | b".global" | b".const" | b".shared" | b".local" | b".generic" | b".param" => {}
            [b'.', ..] => element = Some(type_size(word)?),
            _ => break,
        }
    }
    let element = element?;
    let mut size = element;
    let mut behind = tokens.next()?;
    while behind == Token::Sign(b'[') {
        size = size.checked_mul(number(tokens)?)?;
        if tokens.next()? != Token::Sign(b']') {
            return None;
        }
        behind = tokens.next()?;
    }
    Some((size, align.unwrap_or(element), behind))
}

/// Bytes of a type. References to textures, samplers and surfaces are handles.
fn type_size(name: &[u8]) -> Option<u32> {
    Some(match name {
        b".b8" | b".u8" | b".s8" => 1,
        b".b16" | b".u16" | b".s16" | b".f16" | b".bf16" => 2,
        b".b32" | b".u32" | b".s32" | b".f32" | b".f16x2" | b".bf16x2" => 4,
        b".b64" | b".u64" | b".s64" | b".f64" | b".texref" | b".samplerref" | b".surfref" => 8,
        b".b128" => 16,
        _ => return None,
    })
}

/// A number as C has it.
fn number(tokens: &mut Tokens<'_>) -> Option<u32> {
    let Token::Word(word) = tokens.next()? else { return None };
    let word = std::str::from_utf8(word).ok()?.trim_end_matches('U');
    let (digits, radix) = match word {
        "0" => (word, 10),
        _ if word.starts_with("0x") || word.starts_with("0X") => (word.get(2..)?, 16),
        _ if word.starts_with('0') => (word.get(1..)?, 8),
        _ => (word, 10),
    };
    u32::from_str_radix(digits, radix).ok()
}
