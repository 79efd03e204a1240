//! Writes YAML as the emitter of libyaml does, with its indentation, its quotes and its folding.

use std::cmp::Ordering;

use serde_json::{Number, Value as Json};

use super::style::{Style, choose, is_break, is_printable};

/// Texts are folded at the first space behind this column.
const WIDTH: usize = 80;

/// Which of Helm's two printers writes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Form {
    /// `toYaml`: lists stand below their key, long texts are folded.
    Usual,
    /// `toYamlPretty`: lists are indented, nothing is folded, and numbers keep the form that Go gives to floats.
    Pretty,
}

/// A document without its final newline.
pub(super) fn emit(json: &Json, form: Form) -> String {
    let mut emitter = Emitter { text: String::new(), column: 0, form };
    emitter.root(json);
    // Exactly one: a kept newline of a literal block (`|+`) belongs to its text.
    emitter.text.truncate(emitter.text.strip_suffix('\n').unwrap_or(&emitter.text).len());
    emitter.text
}

struct Emitter {
    text: String,
    /// In characters.
    column: usize,
    form: Form,
}

impl Emitter {
    fn put(&mut self, c: char) {
        self.text.push(c);
        self.column = if c == '\n' { 0 } else { self.column + 1 };
    }

    /// Adds a text without line breaks.
    fn write(&mut self, text: &str) {
        self.text.push_str(text);
        self.column += if text.is_ascii() { text.len() } else { text.chars().count() };
    }

    fn new_line(&mut self, indent: usize) {
        self.put('\n');
        self.blanks(indent);
    }

    fn blanks(&mut self, count: usize) {
        self.text.extend(std::iter::repeat_n(' ', count));
        self.column += count;
    }

    fn root(&mut self, json: &Json) {
        match json {
            Json::Object(map) if !map.is_empty() => self.mapping(json, 0),
            Json::Array(values) if !values.is_empty() => self.sequence(values, 0),
            scalar => {
                self.scalar(scalar, 2);
                self.end_line();
            }
        }
    }

    fn end_line(&mut self) {
        if !self.text.ends_with('\n') {
            self.put('\n');
        }
    }

    /// A mapping whose first key stands where the cursor is.
    fn mapping(&mut self, json: &Json, indent: usize) {
        let Json::Object(map) = json else { return };
        let mut entries: Vec<(&String, &Json)> = map.iter().collect();
        entries.sort_by(|(a, _), (b, _)| natural_order(a, b, self.form));
        for (index, (key, value)) in entries.into_iter().enumerate() {
            if index > 0 {
                self.blanks(indent);
            }
            // A long key needs a mark of its own.
            let is_simple = key.len() <= 128 && !key.contains(is_break);
            if !is_simple {
                self.write("? ");
            }
            self.string(key, indent + 2, is_simple);
            if is_simple {
                self.put(':');
            } else {
                self.end_line();
                self.blanks(indent);
                self.put(':');
            }
            self.value(value, indent, is_simple);
        }
    }

    /// What follows a key's colon.
    fn value(&mut self, value: &Json, indent: usize, is_simple: bool) {
        match value {
            Json::Object(map) if !map.is_empty() => {
                if is_simple {
                    self.new_line(indent + 2);
                } else {
                    self.put(' ');
                }
                self.mapping(value, indent + 2);
            }
            Json::Array(values) if !values.is_empty() => {
                let indent = if self.form == Form::Pretty || !is_simple { indent + 2 } else { indent };
                if is_simple {
                    self.new_line(indent);
                } else {
                    self.put(' ');
                }
                self.sequence(values, indent);
            }
            scalar => {
                self.put(' ');
                self.scalar(scalar, indent + 2);
                self.end_line();
            }
        }
    }

    /// A sequence whose first dash stands where the cursor is.
    fn sequence(&mut self, values: &[Json], indent: usize) {
        for (index, value) in values.iter().enumerate() {
            if index > 0 {
                self.blanks(indent);
            }
            self.write("- ");
            match value {
                Json::Object(map) if !map.is_empty() => self.mapping(value, indent + 2),
                Json::Array(values) if !values.is_empty() => self.sequence(values, indent + 2),
                scalar => {
                    self.scalar(scalar, indent + 2);
                    self.end_line();
                }
            }
        }
    }

    /// A scalar whose further lines are indented.
    fn scalar(&mut self, value: &Json, indent: usize) {
        match value {
            Json::Object(_) => self.write("{}"),
            Json::Array(_) => self.write("[]"),
            Json::String(text) => self.string(text, indent, false),
            Json::Number(number) => {
                let text = self.number(number);
                self.write(&text);
            }
            Json::Bool(value) => self.write(if *value { "true" } else { "false" }),
            Json::Null => self.write("null"),
        }
    }

    /// Numbers went through JSON and back, so that only those with a fraction are still floats.
    fn number(&self, number: &Number) -> String {
        const LARGEST: f64 = 18_446_744_073_709_551_615.0;
        const SMALLEST: f64 = -9_223_372_036_854_775_808.0;
        match number.as_f64() {
            Some(float) if number.is_f64() => {
                let is_whole = float.fract() == 0.0 && float > SMALLEST && float < LARGEST;
                if is_whole && self.form == Form::Usual {
                    float.to_string()
                } else {
                    crate::format::float(float)
                }
            }
            _ => number.to_string(),
        }
    }

    fn string(&mut self, text: &str, indent: usize, is_key: bool) {
        let folds = !is_key && self.form == Form::Usual;
        match choose(text, is_key) {
            Style::Plain => self.plain(text, indent, folds),
            Style::Single => self.single(text, indent, folds),
            Style::Double => self.double(text, indent, folds),
            Style::Literal => self.literal(text, indent),
        }
    }

    fn plain(&mut self, text: &str, indent: usize, folds: bool) {
        // Only text beyond the width is examined closely.
        if !folds || self.column + text.len() <= WIDTH {
            self.write(text);
            return;
        }
        let mut after_space = false;
        let mut chars = text.chars().peekable();
        while let Some(c) = chars.next() {
            let is_space = c == ' ';
            if is_space && folds && !after_space && self.column > WIDTH && chars.peek() != Some(&' ') {
                self.new_line(indent);
            } else {
                self.put(c);
            }
            after_space = is_space;
        }
    }

    fn single(&mut self, text: &str, indent: usize, folds: bool) {
        self.put('\'');
        let mut after_space = false;
        let mut after_break = false;
        let mut chars = text.chars().enumerate().peekable();
        while let Some((index, c)) = chars.next() {
            let next = chars.peek().map(|(_, c)| *c);
            let is_space = c == ' ';
            if is_space
                && folds
                && !after_space
                && self.column > WIDTH
                && index > 0
                && next.is_some_and(|c| c != ' ')
            {
                self.new_line(indent);
            } else if is_break(c) {
                if !after_break && c == '\n' {
                    self.put('\n');
                }
                self.put(c);
            } else {
                if after_break {
                    self.blanks(indent);
                }
                if c == '\'' {
                    self.put('\'');
                }
                self.put(c);
            }
            after_space = is_space;
            after_break = is_break(c);
        }
        self.put('\'');
    }

    fn double(&mut self, text: &str, indent: usize, folds: bool) {
        self.put('"');
        let mut after_space = false;
        let mut chars = text.chars().enumerate().peekable();
        while let Some((index, c)) = chars.next() {
            let next = chars.peek().map(|(_, c)| *c);
            if c == ' ' && folds && !after_space && self.column > WIDTH && index > 0 && next.is_some() {
                self.new_line(indent);
                if next == Some(' ') {
                    self.put('\\');
                }
            } else if is_printable(c) && !is_break(c) && !matches!(c, '"' | '\\') {
                self.put(c);
            } else {
                self.escape(c);
            }
            after_space = c == ' ';
        }
        self.put('"');
    }

    fn escape(&mut self, c: char) {
        let code = u32::from(c);
        let escaped = match c {
            '\0' => "\\0".to_owned(),
            '\u{7}' => "\\a".to_owned(),
            '\u{8}' => "\\b".to_owned(),
            '\t' => "\\t".to_owned(),
            '\n' => "\\n".to_owned(),
            '\u{b}' => "\\v".to_owned(),
            '\u{c}' => "\\f".to_owned(),
            '\r' => "\\r".to_owned(),
            '\u{1b}' => "\\e".to_owned(),
            '"' | '\\' => format!("\\{c}"),
            '\u{85}' => "\\N".to_owned(),
            '\u{a0}' => "\\_".to_owned(),
            '\u{2028}' => "\\L".to_owned(),
            '\u{2029}' => "\\P".to_owned(),
            _ if code <= 0xff => format!("\\x{code:02X}"),
            _ if code <= 0xffff => format!("\\u{code:04X}"),
            _ => format!("\\U{code:08X}"),
        };
        self.write(&escaped);
    }

    fn literal(&mut self, text: &str, indent: usize) {
        self.put('|');
        if text.starts_with(|c| c == ' ' || is_break(c)) {
            self.put('2');
        }
        let mut ends = text.chars().rev();
        match (ends.next(), ends.next()) {
            (Some(last), _) if !is_break(last) => self.put('-'),
            (Some(_), None) => self.put('+'),
            (_, Some(before)) if is_break(before) => self.put('+'),
            _ => {}
        }
        self.put('\n');
        for line in text.split_inclusive(is_break) {
            if !line.starts_with(is_break) {
                self.blanks(indent);
            }
            self.text.push_str(line);
        }
        self.column = usize::from(!text.ends_with('\n'));
    }
}

/// The order of keys in Go's library: numbers within keys count as numbers, letters come last.
fn natural_order(a: &str, b: &str, form: Form) -> Ordering {
    let Some(at) = a.char_indices().zip(b.chars()).find(|((_, x), y)| x != y).map(|((at, _), _)| at) else {
        return a.len().cmp(&b.len());
    };
    let (common, rest_a) = a.split_at(at);
    let rest_b = b.get(at..).unwrap_or_default();
    let first = |rest: &str| rest.chars().next().unwrap_or_default();
    let (x, y) = (first(rest_a), first(rest_b));
    // The newer library puts letters behind digits first.
    let behind_digit = form == Form::Pretty && common.ends_with(char::is_numeric);
    match (x.is_alphabetic(), y.is_alphabetic()) {
        (true, true) => return x.cmp(&y),
        (false, true) if !behind_digit => return Ordering::Less,
        (true, false) if behind_digit => return Ordering::Less,
        (false, true) | (true, false) => return Ordering::Greater,
        (false, false) => {}
    }
    // A zero that does not lead counts as a digit of a longer number.
    let start = if x == '0' || y == '0' {
        i64::from(common.chars().rev().take_while(|c| c.is_numeric()).any(|c| c != '0'))
    } else {
        0
    };
    let number = |rest: &str| {
        let digits = rest.chars().map_while(|c| c.to_digit(10));
        digits.fold((start, 0), |(value, count), digit| {
            (value.wrapping_mul(10).wrapping_add(i64::from(digit)), count + 1)
        })
    };
    number(rest_a).cmp(&number(rest_b)).then(x.cmp(&y))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_ordered_as_people_count() {
        let mut keys = ["b", "a10", "a2", "a", "A", "_x", "1", "10", "9", "a-b", "ab", "a01"];
        keys.sort_by(|a, b| natural_order(a, b, Form::Usual));
        assert_eq!(keys, ["_x", "1", "9", "10", "A", "a", "a-b", "a01", "a2", "a10", "ab", "b"]);
    }
}
