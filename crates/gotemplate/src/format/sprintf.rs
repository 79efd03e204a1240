//! `fmt.Sprintf`: a format with verbs, flags, widths, precisions and argument numbers.

use super::printer::{Flags, Printer};
use crate::value::{ConversionError, Value};

/// Go prints wider ones as errors.
const LARGEST_WIDTH: i64 = 1_000_000;

/// Formats arguments; a mismatch is reported in the text, as in Go.
pub(crate) fn sprintf(format: &[u8], arguments: &[Value]) -> Result<Vec<u8>, ConversionError> {
    let mut formatter = Formatter {
        format,
        at: 0,
        arguments,
        next: 0,
        reordered: false,
        good_index: true,
        printer: Printer::new(),
    };
    while formatter.at < format.len() {
        formatter.text();
        if formatter.at < format.len() {
            formatter.at += 1;
            formatter.verb()?;
        }
    }
    formatter.extra()?;
    Ok(formatter.printer.finish())
}

struct Formatter<'f> {
    format: &'f [u8],
    at: usize,
    arguments: &'f [Value],
    next: usize,
    reordered: bool,
    good_index: bool,
    printer: Printer,
}

impl Formatter<'_> {
    fn peek(&self) -> Option<u8> {
        self.format.get(self.at).copied()
    }

    fn take(&mut self, byte: u8) -> bool {
        let taken = self.peek() == Some(byte);
        self.at += usize::from(taken);
        taken
    }

    fn text(&mut self) {
        let rest = self.format.get(self.at..).unwrap_or_default();
        let length = rest.iter().position(|byte| *byte == b'%').unwrap_or(rest.len());
        self.printer.push(rest.get(..length).unwrap_or_default());
        self.at += length;
    }

    fn verb(&mut self) -> Result<(), ConversionError> {
        self.good_index = true;
        let mut flags = self.flags();
        let mut indexed = self.index();
        if self.take(b'*') {
            self.star_width(&mut flags);
            indexed = false;
        } else {
            flags.width = self.number();
            self.good_index &= !(indexed && flags.width.is_some());
        }
        // A point at the very end is a verb, not a precision.
        if self.peek() == Some(b'.') && self.at + 1 < self.format.len() {
            self.at += 1;
            self.good_index &= !indexed;
            indexed = self.precision(&mut flags);
        }
        if !indexed {
            self.index();
        }
        let rest = crate::encoding::lossy(self.format.get(self.at..).unwrap_or_default());
        let Some(verb) = rest.chars().next() else {
            self.printer.push(b"%!(NOVERB)");
            return Ok(());
        };
        self.at += if verb == '\u{fffd}' { 1 } else { verb.len_utf8() };
        self.print(verb, flags)
    }

    fn print(&mut self, verb: char, mut flags: Flags) -> Result<(), ConversionError> {
        if verb == '%' {
            self.printer.push(b"%");
            return Ok(());
        }
        if !self.good_index {
            self.printer.push(format!("%!{verb}(BADINDEX)").as_bytes());
            return Ok(());
        }
        let Some(argument) = self.arguments.get(self.next) else {
            self.printer.push(format!("%!{verb}(MISSING)").as_bytes());
            return Ok(());
        };
        if matches!(verb, 'v' | 'w') {
            flags.syntax = std::mem::take(&mut flags.sharp);
            // `%+v` names the fields of structs, which templates do not have.
            flags.plus = false;
        }
        self.next += 1;
        self.printer.argument(argument, verb, flags)
    }

    fn flags(&mut self) -> Flags {
        let mut flags = Flags::default();
        loop {
            match self.peek() {
                Some(b'#') => flags.sharp = true,
                Some(b'0') => flags.zero = true,
                Some(b'+') => flags.plus = true,
                Some(b'-') => flags.minus = true,
                Some(b' ') => flags.space = true,
                _ => return flags,
            }
            self.at += 1;
        }
    }

    fn star_width(&mut self, flags: &mut Flags) {
        match self.star() {
            Some(width) => {
                if width < 0 {
                    flags.minus = true;
                    flags.zero = false;
                }
                flags.width = usize::try_from(width.unsigned_abs()).ok();
            }
            None => self.printer.push(b"%!(BADWIDTH)"),
        }
    }

    /// Reads what follows the point; returns whether an argument number came last.
    fn precision(&mut self, flags: &mut Flags) -> bool {
        let indexed = self.index();
        if !self.take(b'*') {
            flags.precision = Some(self.number().unwrap_or(0));
            return indexed;
        }
        match self.star() {
            Some(precision) if precision >= 0 => flags.precision = usize::try_from(precision).ok(),
            _ => self.printer.push(b"%!(BADPREC)"),
        }
        false
    }

    /// The argument that `*` stands for.
    fn star(&mut self) -> Option<i64> {
        let number = self.arguments.get(self.next)?.as_integer();
        self.next += 1;
        number.filter(|number| (-LARGEST_WIDTH..=LARGEST_WIDTH).contains(number))
    }

    fn number(&mut self) -> Option<usize> {
        let mut number: Option<i64> = None;
        while let Some(digit) = self.peek().filter(u8::is_ascii_digit) {
            if number.is_some_and(|number| number > LARGEST_WIDTH) {
                self.at = self.format.len();
                return None;
            }
            number = Some(number.unwrap_or(0) * 10 + i64::from(digit - b'0'));
            self.at += 1;
        }
        number.and_then(|number| usize::try_from(number).ok())
    }

    /// Reads `[n]`, which chooses the next argument; returns whether there was one.
    fn index(&mut self) -> bool {
        if self.peek() != Some(b'[') {
            return false;
        }
        self.reordered = true;
        let rest = self.format.get(self.at..).unwrap_or_default();
        let length = rest.iter().position(|byte| *byte == b']').filter(|_| rest.len() > 2);
        let Some(length) = length else {
            self.good_index = false;
            self.at += 1;
            return false;
        };
        let digits = rest.get(1..length).and_then(|inner| std::str::from_utf8(inner).ok());
        let digits = digits.filter(|digits| digits.bytes().all(|byte| byte.is_ascii_digit()));
        let number = digits.and_then(|digits| digits.parse::<usize>().ok()).filter(|n| *n <= 10_000_000);
        self.at += length + 1;
        match number {
            Some(number) if (1..=self.arguments.len()).contains(&number) => {
                self.next = number - 1;
                true
            }
            number => {
                self.good_index = false;
                number.is_some()
            }
        }
    }

    fn extra(&mut self) -> Result<(), ConversionError> {
        if self.reordered || self.next >= self.arguments.len() {
            return Ok(());
        }
        self.printer.push(b"%!(EXTRA ");
        for (index, argument) in self.arguments.iter().skip(self.next).enumerate() {
            if index > 0 {
                self.printer.push(b", ");
            }
            if !argument.is_nil() {
                self.printer.push(format!("{}=", argument.type_name()).as_bytes());
            }
            self.printer.argument(argument, 'v', Flags::default())?;
        }
        self.printer.push(b")");
        Ok(())
    }
}
