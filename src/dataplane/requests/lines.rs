//! Splits the events of a watch, one on each line, while they arrive, with a bound on what is held. Pure.

/// One event of a watch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WatchLine<'a> {
    /// The whole line, without its end.
    Complete(&'a [u8]),
    /// A line that was too large to be kept.
    TooLarge,
}

/// A parser of lines.
#[derive(Debug)]
pub struct LineSplitter {
    max_bytes: usize,
    line: Vec<u8>,
    complete: bool,
    too_large: bool,
}

impl LineSplitter {
    /// A new parser; lines of more than `largest` bytes are dropped.
    #[must_use]
    pub fn new(max_bytes: usize) -> Self {
        Self { max_bytes, line: Vec::new(), complete: false, too_large: false }
    }

    /// Reads `bytes` up to the end of the next line. Returns how many bytes were used, and whether a line is complete.
    ///
    /// The line is [`Self::line`] until the next call.
    pub fn feed(&mut self, bytes: &[u8]) -> (usize, bool) {
        if std::mem::take(&mut self.complete) {
            self.line.clear();
            self.too_large = false;
        }
        let end = bytes.iter().position(|byte| *byte == b'\n');
        self.append(&bytes[..end.unwrap_or(bytes.len())]);
        self.complete = end.is_some();
        (end.map_or(bytes.len(), |end| end + 1), self.complete)
    }

    /// The line that [`Self::feed`] completed.
    #[must_use]
    pub fn line(&self) -> WatchLine<'_> {
        if self.too_large { WatchLine::TooLarge } else { WatchLine::Complete(&self.line) }
    }

    /// Bytes that are held of the present line.
    #[must_use]
    pub fn buffered(&self) -> usize {
        self.line.len()
    }

    /// Drops the present line up to its end.
    pub fn skip(&mut self) {
        self.too_large = true;
        self.line = Vec::new();
    }

    /// Frees the memory of a large line.
    pub fn shrink(&mut self, size: usize) {
        self.line.clear();
        self.line.shrink_to(size);
    }

    fn append(&mut self, bytes: &[u8]) {
        if self.too_large {
            return;
        }
        if self.line.len() + bytes.len() > self.max_bytes {
            self.skip();
        } else {
            self.line.extend_from_slice(bytes);
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn lines_do_not_depend_on_chunks_and_large_ones_are_dropped(
            lines in prop::collection::vec("[a-z]{0,12}", 0..8), largest in 0..14_usize, size in 1..9_usize,
        ) {
            let text: String = lines.iter().map(|line| format!("{line}\n")).collect();
            let mut reader = LineSplitter::new(largest);
            let mut found = Vec::new();
            for part in text.as_bytes().chunks(size) {
                let mut remaining = part;
                while !remaining.is_empty() {
                    let (used, complete) = reader.feed(remaining);
                    remaining = &remaining[used..];
                    prop_assert!(reader.buffered() <= largest);
                    if complete {
                        found.push(match reader.line() {
                            WatchLine::Complete(line) => Some(String::from_utf8(line.to_vec()).unwrap()),
                            WatchLine::TooLarge => None,
                        });
                    }
                }
            }
            let expected: Vec<_> = lines.into_iter().map(|line| (line.len() <= largest).then_some(line)).collect();
            prop_assert_eq!(found, expected);
        }
    }
}
