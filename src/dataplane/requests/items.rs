//! Splits a list of the API server into its objects while it arrives, so that no more than one object is held. Pure.
//!
//! A list holds as many bytes as its authors write: 125 pods of 1.5 MB are 190 MB. What is kept here is one object of
//! bounded size and the fields around the list.

use thiserror::Error;

/// Bytes of a list without its objects; the API server sends some hundred.
const MAX_ENVELOPE_BYTES: usize = 64 << 10;
/// How much is kept of an object that is too large: enough for its name and namespace, which come first.
const TRUNCATED_BYTES: usize = 2 << 10;

/// The response is not a list of objects.
#[derive(Debug, Error, PartialEq, Eq)]
pub enum Error {
    /// Unbalanced brackets.
    #[error("the list is not valid JSON")]
    Unbalanced,
    /// An item is not a JSON object.
    #[error("the list contains an item that is not an object")]
    NotAnObject,
    /// The fields beside the items are too large.
    #[error("the fields beside the items of the list are larger than {MAX_ENVELOPE_BYTES} bytes")]
    EnvelopeTooLarge,
    /// The list is incomplete.
    #[error("the list is incomplete")]
    Incomplete,
}

/// One object of a list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ListItem<'a> {
    /// The whole object as JSON.
    Complete(&'a [u8]),
    /// The beginning of an object that is too large to be kept.
    Truncated(&'a [u8]),
}

/// The position in a list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum ParserState {
    /// In the fields beside the items.
    InEnvelope,
    /// In the items, between objects.
    BetweenItems,
    /// In an object.
    InItem,
}

/// A parser of lists.
#[derive(Debug)]
pub struct ItemSplitter {
    /// Bytes of the largest object.
    max_bytes: usize,
    depth: usize,
    state: ParserState,
    in_string: bool,
    escaped: bool,
    too_large: bool,
    /// The present object, or the last one.
    item: Vec<u8>,
    /// Everything but the objects.
    envelope: Vec<u8>,
    /// Where in the envelope the last text of the outermost object begins and ends: before a value, its key.
    key_range: (usize, usize),
}

impl ItemSplitter {
    /// A new parser; objects of more than `largest` bytes are truncated.
    #[must_use]
    pub fn new(max_bytes: usize) -> Self {
        Self {
            max_bytes,
            depth: 0,
            state: ParserState::InEnvelope,
            in_string: false,
            escaped: false,
            too_large: false,
            item: Vec::new(),
            envelope: Vec::new(),
            key_range: (0, 0),
        }
    }

    /// Reads `bytes` up to the end of the next object. Returns how many bytes were used, and whether an object is complete.
    ///
    /// The object is [`Self::item`] until the next call.
    pub fn feed(&mut self, bytes: &[u8]) -> Result<(usize, bool), Error> {
        if self.state != ParserState::InItem {
            self.item.clear();
        }
        let mut used = 0;
        while let Some(byte) = bytes.get(used) {
            if self.in_string {
                used += self.parse_string(&bytes[used..])?;
                continue;
            }
            used += 1;
            if self.parse_structure(*byte)? {
                return Ok((used, true));
            }
        }
        Ok((used, false))
    }

    /// The object that [`Self::feed`] completed.
    #[must_use]
    pub fn item(&self) -> ListItem<'_> {
        if self.too_large { ListItem::Truncated(&self.item) } else { ListItem::Complete(&self.item) }
    }

    /// Bytes that are held of the present object.
    #[must_use]
    pub fn buffered(&self) -> usize {
        self.item.len()
    }

    /// The list without its objects, once all of it was read.
    pub fn envelope(&self) -> Result<&[u8], Error> {
        let is_complete = self.depth == 0 && !self.in_string && !self.envelope.is_empty();
        if is_complete { Ok(&self.envelope) } else { Err(Error::Incomplete) }
    }

    /// Reads within a string; returns the number of bytes.
    fn parse_string(&mut self, bytes: &[u8]) -> Result<usize, Error> {
        if self.escaped {
            self.escaped = false;
            self.append(&bytes[..1])?;
            return Ok(1);
        }
        let Some(end) = bytes.iter().position(|byte| matches!(byte, b'"' | b'\\')) else {
            self.append(bytes)?;
            return Ok(bytes.len());
        };
        if bytes[end] == b'\\' {
            self.escaped = true;
        } else {
            self.in_string = false;
            if self.depth == 1 {
                self.key_range.1 = self.envelope.len() + end;
            }
        }
        self.append(&bytes[..=end])?;
        Ok(end + 1)
    }

    /// Reads one byte outside of strings; returns whether it ends an object of the list.
    fn parse_structure(&mut self, byte: u8) -> Result<bool, Error> {
        let between_items = self.state == ParserState::BetweenItems;
        match byte {
            b'{' if between_items => {
                self.state = ParserState::InItem;
                self.too_large = false;
                self.depth += 1;
            }
            b'{' => self.depth += 1,
            b'[' if !between_items => {
                self.depth += 1;
                if self.state == ParserState::InEnvelope && self.depth == 2 && self.key() == b"items" {
                    self.state = ParserState::BetweenItems;
                }
            }
            b'}' | b']' => {
                self.depth = self.depth.checked_sub(1).ok_or(Error::Unbalanced)?;
                if self.state == ParserState::InItem && self.depth == 2 {
                    self.append(&[byte])?;
                    self.state = ParserState::BetweenItems;
                    return Ok(true);
                }
                if self.depth < 2 {
                    self.state = ParserState::InEnvelope;
                }
            }
            b',' | b' ' | b'\n' | b'\r' | b'\t' if between_items => return Ok(false),
            _ if between_items => return Err(Error::NotAnObject),
            b'"' => {
                self.in_string = true;
                if self.depth == 1 {
                    self.key_range.0 = self.envelope.len() + 1;
                }
            }
            _ => {}
        }
        self.append(&[byte])?;
        Ok(false)
    }

    fn key(&self) -> &[u8] {
        self.envelope.get(self.key_range.0..self.key_range.1).unwrap_or_default()
    }

    fn append(&mut self, bytes: &[u8]) -> Result<(), Error> {
        if self.state != ParserState::InItem {
            self.envelope.extend_from_slice(bytes);
            return if self.envelope.len() > MAX_ENVELOPE_BYTES {
                Err(Error::EnvelopeTooLarge)
            } else {
                Ok(())
            };
        }
        if self.too_large {
            return Ok(());
        }
        if self.item.len() + bytes.len() > self.max_bytes {
            self.too_large = true;
            self.item.truncate(TRUNCATED_BYTES);
            self.item.shrink_to(TRUNCATED_BYTES);
            return Ok(());
        }
        self.item.extend_from_slice(bytes);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::{Map, Value, json};

    use super::*;

    /// The objects of a list that arrives in these parts, and what is around them.
    fn split(parts: &[&[u8]], largest: usize) -> Result<(Vec<Option<Value>>, Value), Error> {
        let (mut items, mut found) = (ItemSplitter::new(largest), Vec::new());
        for part in parts {
            let mut remaining = *part;
            while !remaining.is_empty() {
                let (used, complete) = items.feed(remaining)?;
                remaining = &remaining[used..];
                if complete {
                    found.push(match items.item() {
                        ListItem::Complete(object) => Some(serde_json::from_slice(object).unwrap()),
                        ListItem::Truncated(_) => None,
                    });
                }
            }
        }
        let envelope = serde_json::from_slice(items.envelope()?).unwrap();
        Ok((found, envelope))
    }

    fn parts<'t>(text: &'t [u8], cuts: &[prop::sample::Index]) -> Vec<&'t [u8]> {
        let mut cuts: Vec<usize> = cuts.iter().map(|cut| cut.index(text.len() + 1)).collect();
        cuts.extend([0, text.len()]);
        cuts.sort_unstable();
        cuts.windows(2).map(|pair| &text[pair[0]..pair[1]]).collect()
    }

    fn value() -> impl Strategy<Value = Value> {
        let text = || prop_oneof!["items", "[\\x00-\\x7f]{0,6}", any::<String>()];
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            text().prop_map(Value::from),
        ];
        leaf.prop_recursive(3, 24, 4, move |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
                prop::collection::vec((text(), inner), 0..4)
                    .prop_map(|entries| Value::Object(entries.into_iter().collect::<Map<_, _>>())),
            ]
        })
    }

    fn object() -> impl Strategy<Value = Value> {
        prop::collection::vec(("[a-z]{0,5}", value()), 0..4)
            .prop_map(|entries| Value::Object(entries.into_iter().collect::<Map<_, _>>()))
    }

    proptest! {
        #[test]
        fn a_list_gives_the_same_objects_however_it_arrives(
            objects in prop::collection::vec(object(), 0..5), metadata in value(),
            pretty in any::<bool>(), metadata_last in any::<bool>(),
            cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..20),
        ) {
            let list = if metadata_last {
                json!({"kind": "List", "items": objects, "metadata": metadata})
            } else {
                json!({"kind": "items", "metadata": metadata, "items": objects})
            };
            let text = if pretty { format!("{list:#}\n") } else { list.to_string() };
            let (found, envelope) = split(&parts(text.as_bytes(), &cuts), usize::MAX).unwrap();
            prop_assert_eq!(found, objects.into_iter().map(Some).collect::<Vec<_>>());
            prop_assert_eq!(&envelope["metadata"], &metadata);
            prop_assert_eq!(&envelope["items"], &json!([]));
        }

        #[test]
        fn arbitrary_bytes_are_an_error_or_a_list_in_bounded_memory(
            bytes in prop::collection::vec(any::<u8>(), 0..200), largest in 0..64_usize,
        ) {
            let mut items = ItemSplitter::new(largest);
            let mut remaining = [br#"{"items":["#, &bytes[..]].concat();
            while !remaining.is_empty() {
                let Ok((used, _)) = items.feed(&remaining) else { break };
                remaining.drain(..used);
                prop_assert!(items.buffered() <= largest.max(TRUNCATED_BYTES));
            }
        }
    }

    #[test]
    fn an_object_that_is_too_large_is_cut_short_and_the_next_is_read() {
        let large = json!({"metadata": {"name": "large"}, "text": "x".repeat(10_000)});
        let small = json!({"metadata": {"name": "small"}});
        let list = json!({"items": [small, large, small], "metadata": {"continue": "next"}}).to_string();
        for size in [1, 7, 4096, list.len()] {
            let parts: Vec<&[u8]> = list.as_bytes().chunks(size).collect();
            let (found, envelope) = split(&parts, 5_000).unwrap();
            assert_eq!(found, [Some(small.clone()), None, Some(small.clone())]);
            assert_eq!(envelope["metadata"]["continue"], "next");
        }
    }

    #[test]
    fn incomplete_or_invalid_lists_are_errors() {
        let fields = format!(r#"{{"metadata":"{}","items":[]}}"#, "x".repeat(MAX_ENVELOPE_BYTES));
        for (text, error) in [
            ("", Error::Incomplete),
            (r#"{"items":[{}"#, Error::Incomplete),
            (r#"{"items":[{}]"#, Error::Incomplete),
            (r#"{"items":[1]}"#, Error::NotAnObject),
            (r#"{"items":[[]]}"#, Error::NotAnObject),
            ("}", Error::Unbalanced),
            (&fields, Error::EnvelopeTooLarge),
        ] {
            assert_eq!(split(&[text.as_bytes()], usize::MAX).unwrap_err(), error, "{text:.40}");
        }
    }
}
