//! The two data files as one tree of names.

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

    /// Whether it is a map with names of its own.
    pub fn is_section(&self) -> bool {
        !self.children.is_empty() || self.any.is_some() || self.others.is_some()
    }

    fn add(&mut self, path: &[Segment], rule: &LineRule) {
        let Some((segment, rest)) = path.split_first() else { return rule.set(self) };
        match segment {
            Segment::Name(name) => self.children.entry(name.clone()).or_default().add(rest, rule),
            Segment::Any(kind) => self.any.get_or_insert_with(|| (kind, Box::default())).1.add(rest, rule),
            Segment::Items => self.items.get_or_insert_default().add(rest, rule),
            Segment::Others => {
                if let LineRule::Closed(closed) = rule {
                    self.others = Some(*closed);
                }
            }
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
    fn set(&self, node: &mut Node) {
        match self {
            Self::Allowed(kind) => node.kind = Some(kind.clone()),
            Self::Section => node.is_removable = true,
            Self::Closed(closed) => node.closed = Some(*closed),
        }
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
pub(super) static TREE: LazyLock<Node> = LazyLock::new(|| {
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
    for (path, rule) in allowed.chain(closed) {
        // A line that cannot be read allows nothing; a test shows that there is none.
        let Some(rule) = rule else { continue };
        for path in alternatives(path).iter().filter_map(|path| segments(path)) {
            root.add(&path, &rule);
        }
    }
    root
});

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

/// Whether each line of the data files can be read; the lines that cannot.
#[cfg(test)]
pub(super) fn unreadable() -> Vec<&'static str> {
    let is_readable = |path: &str| alternatives(path).iter().all(|path| segments(path).is_some());
    let allowed = lines(ALLOWED).filter(|(path, rest)| {
        !is_readable(path) || (*rest != "section" && ValueKind::parse(rest).is_none())
    });
    let closed = lines(CLOSED).filter(|(path, rest)| !is_readable(path) || Closed::parse(rest).is_none());
    allowed.chain(closed).map(|(path, _)| path).collect()
}
