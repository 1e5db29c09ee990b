//! What is in a line may quote what others send.

use std::fmt::{self, Arguments, Display, Formatter, Write};

/// Characters of a line, at most.
const MOST: usize = 2000;

/// Text as one line of bounded length: control characters, which could end it or direct a terminal, are spelled out.
pub struct Line<'a>(pub Arguments<'a>);

impl Display for Line<'_> {
    fn fmt(&self, to: &mut Formatter<'_>) -> fmt::Result {
        let mut plain = Plain { to, left: MOST };
        let written = plain.write_fmt(self.0);
        match plain.left {
            0 => plain.to.write_str("…"),
            _ => written,
        }
    }
}

struct Plain<'a, 'f> {
    to: &'a mut Formatter<'f>,
    left: usize,
}

impl Write for Plain<'_, '_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        for character in text.chars() {
            // The error ends what produces the text, too.
            self.left = self.left.checked_sub(1).filter(|left| *left > 0).ok_or_else(|| {
                self.left = 0;
                fmt::Error
            })?;
            match character.is_control() {
                true => write!(self.to, "{}", character.escape_default())?,
                false => self.to.write_char(character)?,
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_cannot_end_its_line_nor_direct_a_terminal() {
        let name = "k\n[ERROR] all is lost\x1b[2J\u{85}\r";
        let line = Line(format_args!("kernel `{name}` is unknown")).to_string();
        assert_eq!(line, r"kernel `k\n[ERROR] all is lost\u{1b}[2J\u{85}\r` is unknown");
    }

    #[test]
    fn a_line_is_so_long_and_no_longer() {
        assert_eq!(Line(format_args!("{:1$}", 'ä', MOST - 1)).to_string().chars().count(), MOST - 1);
        let cut = Line(format_args!("{:1$}", 'ä', 10 * MOST)).to_string();
        assert_eq!(cut.chars().count(), MOST);
        assert!(cut.ends_with('…'));
    }
}
