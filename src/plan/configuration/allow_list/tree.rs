//! The two data files as one tree of names.
//!
//! Pure. A line that cannot be read, or that contradicts another one, allows nothing; a test shows that there is none.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use super::closed::Closed;
use super::kind::ValueKind;
use super::texts::TextKind;

/// The values that authors may set.
pub(super) const ALLOWED: &str = include_str!("allowed_values.txt");
/// The values that they may not set, with the reasons.
pub(super) const CLOSED: &str = include_str!("closed_values.txt");

/// What is known of a value and of those below it.
#[derive(Debug, Default)]
pub(super) struct Node {
    children: BTreeMap<String, Node>,
    /// For names of one kind that are not among the children.
    any: Option<(&'static TextKind, Box<Node>)>,
    /// For the items of a list.
    pub items: Option<Box<Node>>,
    /// For names that are not known otherwise.
    others: Option<Closed>,
    /// The value itself, if an author may set it.
    pub kind: Option<ValueKind>,
    /// Whether `null` may remove the section.
    pub is_removable: bool,
    /// Why the value is closed, unless something below it is allowed.
    pub closed: Option<Closed>,
}

/// A line that contradicts another one.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Conflict {
    /// The path has two rules of one sort.
    Repeated,
    /// Names of two kinds can be chosen at one place.
    SecondKind,
    /// `*` allows nothing: it can only close.
    AllowsOthers,
}

/// What is known of a name in a section.
pub(super) enum NodeLookup<'t> {
    /// The name is known.
    Node(&'t Node),
    /// All names that are not known are closed for the same reason.
    Closed(Closed),
    /// Nothing.
    Unknown,
}

impl Node {
    /// What is known of `name` below this node.
    pub fn find(&self, name: &str) -> NodeLookup<'_> {
        let any = self.any.as_ref().filter(|(kind, _)| kind.accepts(name)).map(|(_, node)| &**node);
        match (self.children.get(name).or(any), self.others.or(self.closed)) {
            (Some(node), _) => NodeLookup::Node(node),
            (None, Some(closed)) => NodeLookup::Closed(closed),
            (None, None) => NodeLookup::Unknown,
        }
    }

    /// Whether null may remove the value. Not where settings would go with it that authors may not change.
    pub fn is_removable(&self) -> bool {
        match &self.kind {
            Some(kind) => kind.is_removable(),
            None => (self.is_removable || self.items.is_some()) && !self.protects_something_below(),
        }
    }

    /// Whether something below is closed, or has only safe choices.
    pub fn protects_something_below(&self) -> bool {
        let chosen = self.any.as_ref().map(|(_, node)| &**node);
        self.others.is_some()
            || self.children.values().chain(chosen).any(|node| {
                node.closed.is_some()
                    || node.kind.as_ref().is_some_and(|kind| !kind.is_removable())
                    || node.protects_something_below()
            })
    }

    /// Whether the names of the map are the author's.
    pub fn has_chosen_names(&self) -> bool {
        self.any.is_some()
    }

    /// Whether it is a map with names of its own.
    pub fn is_section(&self) -> bool {
        !self.children.is_empty() || self.any.is_some() || self.others.is_some()
    }

    fn add(&mut self, path: &[Segment], rule: &LineRule) -> Result<(), Conflict> {
        let Some((segment, rest)) = path.split_first() else { return rule.set(self) };
        match segment {
            Segment::Name(name) => self.children.entry(name.clone()).or_default().add(rest, rule),
            Segment::Any(kind) => {
                let (known, node) = self.any.get_or_insert_with(|| (kind, Box::default()));
                if known.name == kind.name { node.add(rest, rule) } else { Err(Conflict::SecondKind) }
            }
            Segment::Items => self.items.get_or_insert_default().add(rest, rule),
            Segment::Others => match rule {
                LineRule::Closed(closed) if self.others.is_none() && rest.is_empty() => {
                    self.others = Some(*closed);
                    Ok(())
                }
                LineRule::Closed(_) => Err(Conflict::Repeated),
                LineRule::Allowed(_) | LineRule::Section => Err(Conflict::AllowsOthers),
            },
        }
    }
}

/// What a line says of its path.
#[derive(Clone, Debug)]
enum LineRule {
    Allowed(ValueKind),
    Section,
    Closed(Closed),
}

impl LineRule {
    fn set(&self, node: &mut Node) -> Result<(), Conflict> {
        let is_repeated = match self {
            Self::Allowed(kind) => node.kind.replace(kind.clone()).is_some(),
            Self::Section => std::mem::replace(&mut node.is_removable, true),
            Self::Closed(closed) => node.closed.replace(*closed).is_some(),
        };
        if is_repeated { Err(Conflict::Repeated) } else { Ok(()) }
    }
}

#[derive(Debug)]
enum Segment {
    Name(String),
    Any(&'static TextKind),
    Items,
    Others,
}

/// The tree, parsed once.
pub(super) static TREE: LazyLock<Node> = LazyLock::new(|| build(|_| {}));

/// The tree of both files. Lines that cannot be read or contradict others are handed to `refuse`.
fn build(mut refuse: impl FnMut(&'static str)) -> Node {
    let mut root = Node::default();
    let allowed = lines(ALLOWED).map(|(path, rest)| {
        let rule = if rest == "section" {
            Some(LineRule::Section)
        } else {
            ValueKind::parse(rest).map(LineRule::Allowed)
        };
        (path, rule)
    });
    let closed = lines(CLOSED).map(|(path, rest)| (path, Closed::parse(rest).map(LineRule::Closed)));
    for (line, rule) in allowed.chain(closed) {
        for path in alternatives(line) {
            let is_added = match (segments(&path), &rule) {
                (Some(path), Some(rule)) => root.add(&path, rule).is_ok(),
                _ => false,
            };
            if !is_added {
                refuse(line);
            }
        }
    }
    root
}

/// The lines of a data file that say something, as path and rest.
pub(super) fn lines(text: &'static str) -> impl Iterator<Item = (&'static str, &'static str)> {
    let lines = text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'));
    lines.map(|line| {
        let (path, rest) = line.split_once(char::is_whitespace).unwrap_or((line, ""));
        (path, rest.trim())
    })
}

/// The paths that a path with `(a|b)` in it stands for.
pub(super) fn alternatives(path: &str) -> Vec<String> {
    let Some((before, (inside, after))) =
        path.split_once('(').and_then(|(before, rest)| Some((before, rest.split_once(')')?)))
    else {
        return vec![path.to_owned()];
    };
    let ends = alternatives(after);
    inside.split('|').flat_map(|one| ends.iter().map(move |end| format!("{before}{one}{end}"))).collect()
}

/// Reads a path without alternatives; `None` if it names a kind that does not exist.
fn segments(path: &str) -> Option<Vec<Segment>> {
    let mut segments = Vec::new();
    for name in names(path) {
        let (name, is_list) = name.strip_suffix("[]").map_or((&*name, false), |name| (name, true));
        segments.push(match name.strip_prefix('<').and_then(|name| name.strip_suffix('>')) {
            Some(kind) => Segment::Any(TextKind::named(kind)?),
            None if name == "*" => Segment::Others,
            None => Segment::Name(name.to_owned()),
        });
        if is_list {
            segments.push(Segment::Items);
        }
    }
    Some(segments)
}

/// The names of a path, separated by dots that have no backslash before them.
fn names(path: &str) -> Vec<String> {
    // No path has this character otherwise.
    let path = path.replace(r"\.", "\0");
    path.split('.').map(|name| name.replace('\0', ".")).collect()
}

/// The lines of the data files that cannot be read, or that contradict others.
#[cfg(test)]
pub(super) fn unreadable() -> Vec<&'static str> {
    let mut unreadable = Vec::new();
    build(|line| unreadable.push(line));
    unreadable
}

#[cfg(test)]
mod tests {
    use super::*;

    fn add(root: &mut Node, path: &str, rule: &LineRule) -> Result<(), Conflict> {
        root.add(&segments(path).unwrap(), rule)
    }

    #[test]
    fn lines_that_contradict_each_other_are_found() {
        let allowed = LineRule::Allowed(ValueKind::Bool);
        let closed = LineRule::Closed(Closed::parse("code").unwrap());
        let mut root = Node::default();
        assert_eq!(add(&mut root, "a.b", &allowed), Ok(()));
        assert_eq!(add(&mut root, "a.b", &allowed), Err(Conflict::Repeated));
        assert_eq!(add(&mut root, "a.<tag>", &allowed), Ok(()));
        assert_eq!(add(&mut root, "a.<word>", &allowed), Err(Conflict::SecondKind));
        assert_eq!(add(&mut root, "a.*", &allowed), Err(Conflict::AllowsOthers));
        assert_eq!(add(&mut root, "a.*", &closed), Ok(()));
        assert_eq!(add(&mut root, "a.*", &closed), Err(Conflict::Repeated));
        for kind in ["bool true", "integer 1", "integer 1 2 3", "only", "text 5", "nothing"] {
            assert!(ValueKind::parse(kind).is_none(), "{kind}");
        }
    }
}
