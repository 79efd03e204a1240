//! Where keys may have started.

use super::{Error, Scanner};

/// A key without `?` is on one line and no longer than this.
const LONGEST_KEY: usize = 1024;

/// Where a key may have started.
#[derive(Debug, Clone, Copy)]
pub(super) struct PossibleKey {
    /// There can be nothing but a key at this place.
    is_required: bool,
    /// The number of the token that it would start with.
    pub(super) number: usize,
    index: usize,
    pub(super) line: usize,
    pub(super) column: usize,
}

/// What the scanner knows of keys at one level of flow collections.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Level {
    pub(super) key: Option<PossibleKey>,
    /// The number of the token that the last possible key would start with; without one, of the bracket.
    pub(super) number: usize,
}

impl Scanner<'_> {
    /// The first token is not known while it may turn out to start a key.
    pub(super) fn needs_more(&mut self) -> Result<bool, Error> {
        if self.tokens.is_empty() {
            return Ok(true);
        }
        match self.awaited.get(&self.taken).copied() {
            Some(level) => self.key_is_possible(level),
            None => Ok(false),
        }
    }

    pub(super) fn key_is_possible(&mut self, level: usize) -> Result<bool, Error> {
        let Some(key) = self.levels.get(level).and_then(|level| level.key) else { return Ok(false) };
        if key.line < self.line || key.index + LONGEST_KEY < self.index {
            if key.is_required {
                return Err(missing_colon(key));
            }
            self.levels[level].key = None;
            return Ok(false);
        }
        Ok(true)
    }

    /// Remembers that a key may start here.
    pub(super) fn save_key(&mut self) -> Result<(), Error> {
        if self.key_allowed {
            let key = PossibleKey {
                is_required: self.flow_level == 0 && self.is_indent(self.column),
                number: self.taken + self.tokens.len(),
                index: self.index,
                line: self.line,
                column: self.column,
            };
            self.remove_key()?;
            self.awaited.insert(key.number, self.levels.len() - 1);
            if let Some(last) = self.levels.last_mut() {
                *last = Level { key: Some(key), number: key.number };
            }
        }
        Ok(())
    }

    pub(super) fn remove_key(&mut self) -> Result<(), Error> {
        match self.levels.last_mut().and_then(|level| level.key.take()) {
            Some(key) if key.is_required => Err(missing_colon(key)),
            Some(key) => {
                self.awaited.remove(&key.number);
                Ok(())
            }
            None => Ok(()),
        }
    }
}

fn missing_colon(key: PossibleKey) -> Error {
    Error { line: key.line + 1, column: key.column + 1, message: "could not find expected ':'".to_owned() }
}
