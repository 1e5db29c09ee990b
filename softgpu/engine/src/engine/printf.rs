//! Formatting for device-side `printf`: the conversions of C, as the CUDA
//! Programming Guide lists them.

use super::printf_sys::{format_float, format_integer};

/// Where the arguments come from.
pub(super) trait Arguments {
    type Error;
    /// The next 4-byte argument.
    fn word(&mut self) -> Result<u32, Self::Error>;
    /// The next 8-byte argument.
    fn long(&mut self) -> Result<u64, Self::Error>;
    /// The string at an address.
    fn string(&mut self, address: u64) -> Result<Vec<u8>, Self::Error>;
}

/// Widths and precisions are cut to this.
const MAX_WIDTH: u32 = 4096;

/// One conversion specification.
#[derive(Default)]
pub(super) struct Spec {
    /// Among `-+ #0`.
    pub(super) flags: Vec<u8>,
    pub(super) width: Option<u32>,
    pub(super) precision: Option<u32>,
    /// Bits of an integer argument.
    bits: u32,
    pub(super) conversion: u8,
}

/// Text and number of arguments used.
pub(super) fn format<A: Arguments>(format: &[u8], args: &mut A) -> Result<(Vec<u8>, u32), A::Error> {
    let mut text = Vec::new();
    let mut count = 0;
    let mut rest = format;
    while let Some((&byte, after)) = rest.split_first() {
        rest = after;
        if byte != b'%' {
            text.push(byte);
            continue;
        }
        let (spec, after) = parse(rest, args)?;
        match convert(&spec, args)? {
            Some(converted) => {
                text.extend(converted);
                count += u32::from(spec.conversion != b'%');
                rest = after;
            }
            // Not a conversion: printed as it stands.
            None => text.push(b'%'),
        }
    }
    Ok((text, count))
}

/// Reads what follows a percent sign.
fn parse<'f, A: Arguments>(mut rest: &'f [u8], args: &mut A) -> Result<(Spec, &'f [u8]), A::Error> {
    let mut spec = Spec { bits: 32, ..Spec::default() };
    let flags = rest.iter().take_while(|b| b"-+ #0".contains(b)).count();
    spec.flags = rest[..flags].to_vec();
    rest = &rest[flags..];
    spec.width = number(&mut rest, args)?.map(|width| {
        if width < 0 {
            spec.flags.push(b'-');
        }
        width.unsigned_abs().min(MAX_WIDTH)
    });
    if let Some((b'.', after)) = rest.split_first() {
        rest = after;
        let precision = number(&mut rest, args)?.unwrap_or(0);
        spec.precision = u32::try_from(precision).ok().map(|p| p.min(MAX_WIDTH));
    }
    while let Some((&modifier, after)) = rest.split_first() {
        spec.bits = match (modifier, spec.bits) {
            (b'h', 16) => 8,
            (b'h', _) => 16,
            (b'l' | b'j' | b'z' | b't' | b'L', _) => 64,
            _ => break,
        };
        rest = after;
    }
    if let Some((&conversion, after)) = rest.split_first() {
        spec.conversion = conversion;
        rest = after;
    }
    Ok((spec, rest))
}

/// A decimal number or, for `*`, an argument.
fn number<A: Arguments>(rest: &mut &[u8], args: &mut A) -> Result<Option<i32>, A::Error> {
    if let Some((b'*', after)) = rest.split_first() {
        *rest = after;
        return Ok(Some(args.word()? as i32));
    }
    let digits = rest.iter().take_while(|b| b.is_ascii_digit()).count();
    let value = rest[..digits].iter().fold(0i32, |n, d| n.saturating_mul(10).saturating_add(i32::from(d - b'0')));
    *rest = &rest[digits..];
    Ok((digits > 0).then_some(value))
}

fn convert<A: Arguments>(spec: &Spec, args: &mut A) -> Result<Option<Vec<u8>>, A::Error> {
    Ok(Some(match spec.conversion {
        b'%' => vec![b'%'],
        b'd' | b'i' => {
            let value = match spec.bits {
                64 => args.long()? as i64,
                16 => i64::from(args.word()? as i16),
                8 => i64::from(args.word()? as i8),
                _ => i64::from(args.word()? as i32),
            };
            format_integer(spec, value as u64)
        }
        b'u' | b'o' | b'x' | b'X' => {
            let value = match spec.bits {
                64 => args.long()?,
                16 => u64::from(args.word()? as u16),
                8 => u64::from(args.word()? as u8),
                _ => u64::from(args.word()?),
            };
            format_integer(spec, value)
        }
        b'p' => pad(spec, format!("{:#x}", args.long()?).into_bytes()),
        b'c' => pad(spec, vec![args.word()? as u8]),
        b's' => {
            let address = args.long()?;
            let mut text = if address == 0 { b"(null)".to_vec() } else { args.string(address)? };
            text.truncate(spec.precision.map_or(usize::MAX, |p| p as usize));
            pad(spec, text)
        }
        b'e' | b'E' | b'f' | b'F' | b'g' | b'G' | b'a' | b'A' => format_float(spec, f64::from_bits(args.long()?)),
        _ => return Ok(None),
    }))
}

fn pad(spec: &Spec, text: Vec<u8>) -> Vec<u8> {
    let missing = (spec.width.unwrap_or(0) as usize).saturating_sub(text.len());
    let blanks = vec![b' '; missing];
    if spec.flags.contains(&b'-') {
        [text, blanks].concat()
    } else {
        [blanks, text].concat()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct List(Vec<u64>);
    impl Arguments for List {
        type Error = ();
        fn word(&mut self) -> Result<u32, ()> {
            self.long().map(|v| v as u32)
        }
        fn long(&mut self) -> Result<u64, ()> {
            if self.0.is_empty() {
                Err(())
            } else {
                Ok(self.0.remove(0))
            }
        }
        fn string(&mut self, address: u64) -> Result<Vec<u8>, ()> {
            Ok(format!("str{address}").into_bytes())
        }
    }

    fn print(text: &str, args: &[u64]) -> String {
        let (bytes, _) = format(text.as_bytes(), &mut List(args.to_vec())).unwrap();
        String::from_utf8(bytes).unwrap()
    }

    #[test]
    fn integers() {
        assert_eq!(print("%d|%5d|%-5d|%05d|%+d", &[u64::MAX, 42, 42, 42, 7]), "-1|   42|42   |00042|+7");
        assert_eq!(print("%u %x %#X %o", &[u64::MAX, 255, 255, 8]), "4294967295 ff 0XFF 10");
        assert_eq!(print("%lld %llu %hd %hhu", &[u64::MAX, u64::MAX, 0xffff, 0x1ff]), "-1 18446744073709551615 -1 255");
        assert_eq!(print("%*d|%.3d|%-*d|", &[4, 1, 5, 3, 9]), "   1|005|9  |");
    }

    #[test]
    fn floats() {
        let f = |x: f64| x.to_bits();
        assert_eq!(
            print("%f %.2f %8.3f %e %g", &[f(1.5), f(2.0 / 3.0), f(-1.0), f(12345.678), f(1e-10)]),
            "1.500000 0.67   -1.000 1.234568e+04 1e-10"
        );
        assert_eq!(print("%f %F %a", &[f(f64::INFINITY), f(f64::NAN), f(1.0)]), "inf NAN 0x1p+0");
    }

    #[test]
    fn strings_characters_and_pointers() {
        assert_eq!(
            print("[%s] [%6s] [%-6s] [%.2s] %c %p", &[1, 2, 3, 4, 65, 0x1234]),
            "[str1] [  str2] [str3  ] [st] A 0x1234"
        );
        assert_eq!(print("%s", &[0]), "(null)");
    }

    #[test]
    fn percent_and_unknown_conversions() {
        assert_eq!(print("100%% %y %", &[]), "100% %y %");
    }

    #[test]
    fn huge_widths_are_cut() {
        assert_eq!(print("%999999999d", &[1]).len(), MAX_WIDTH as usize);
        assert_eq!(print("%.999999999f", &[0]).len(), MAX_WIDTH as usize + 2);
    }
}
