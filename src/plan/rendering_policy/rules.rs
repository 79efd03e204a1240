//! The list of open fields, `fields.txt`.
//!
//! Pure. A line that cannot be read opens nothing; a test shows that there is none.

use std::sync::LazyLock;

use super::names::NameClass;
use super::values::ValueClass;

const LIST: &str = include_str!("fields.txt");

static RULES: LazyLock<Vec<Rule>> = LazyLock::new(|| LIST.lines().flat_map(Rule::parse).collect());

/// One step from a value to a part of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum PathStep {
    /// To the value under this name.
    Field(String),
    /// To the element of a list that has this name.
    Element(String),
}

impl PathStep {
    /// The name in either case.
    pub fn name(&self) -> &str {
        let (Self::Field(name) | Self::Element(name)) = self;
        name
    }
}

/// What a step has to be for a rule to hold.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Pattern {
    Field(NamePattern),
    Element(NamePattern),
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum NamePattern {
    Exactly(&'static str),
    Of(NameClass),
    Any,
}

/// A field that is open.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Rule {
    subject: &'static str,
    path: Vec<Pattern>,
    /// Whether only an entry that the charts lack may be written.
    pub new_only: bool,
    /// What may be written.
    pub class: ValueClass,
}

impl Rule {
    /// The rules of one line, one for each subject; none if it is empty, a comment, or cannot be read.
    fn parse(line: &'static str) -> Vec<Self> {
        let parts: Vec<&str> = line.split_whitespace().collect();
        let &[subjects, path, class] = &parts[..] else { return Vec::new() };
        if line.starts_with('#') {
            return Vec::new();
        }
        let (path, new_only) = path.strip_suffix('+').map_or((path, false), |path| (path, true));
        let path: Option<Vec<Vec<Pattern>>> = path.split('.').map(Pattern::parse).collect();
        let (Some(path), Some(class)) = (path.map(|path| path.concat()), ValueClass::parse(class)) else {
            return Vec::new();
        };
        let rule = |subject| Self { subject, path: path.clone(), new_only, class: class.clone() };
        subjects.split(',').map(rule).collect()
    }

    fn is_for(&self, subject: &str, steps: &[PathStep]) -> bool {
        self.path.len() == steps.len() && self.starts_with(subject, steps)
    }

    fn starts_with(&self, subject: &str, steps: &[PathStep]) -> bool {
        self.subject == subject
            && self.path.len() >= steps.len()
            && self.path.iter().zip(steps).all(|(pattern, step)| pattern.accepts(step))
    }
}

impl Pattern {
    /// The patterns of one part between dots: `spec`, `{label}`, or `containers[x]`, which is two.
    fn parse(part: &'static str) -> Option<Vec<Self>> {
        Some(match part.split_once('[') {
            Some((list, element)) => vec![
                Self::Field(NamePattern::parse(list)?),
                Self::Element(NamePattern::parse(element.trim_end_matches(']'))?),
            ],
            None => vec![Self::Field(NamePattern::parse(part)?)],
        })
    }

    fn accepts(&self, step: &PathStep) -> bool {
        match (self, step) {
            (Self::Field(pattern), PathStep::Field(name))
            | (Self::Element(pattern), PathStep::Element(name)) => pattern.accepts(name),
            _ => false,
        }
    }
}

impl NamePattern {
    fn parse(text: &'static str) -> Option<Self> {
        let class = text.strip_prefix('{').and_then(|text| text.strip_suffix('}'));
        Some(match (text, class) {
            ("", _) => Self::Any,
            (_, Some(class)) => Self::Of(NameClass::parse(class)?),
            (name, None) => Self::Exactly(name),
        })
    }

    fn accepts(&self, name: &str) -> bool {
        match self {
            Self::Exactly(expected) => *expected == name,
            Self::Of(class) => class.accepts(name),
            Self::Any => true,
        }
    }
}

/// The rule for a place in a subject, if it is open.
pub(crate) fn find(subject: &str, steps: &[PathStep]) -> Option<&'static Rule> {
    RULES.iter().find(|rule| rule.is_for(subject, steps))
}

/// Whether something below a place in a subject is open.
pub(crate) fn is_open_below(subject: &str, steps: &[PathStep]) -> bool {
    RULES.iter().any(|rule| rule.starts_with(subject, steps) && rule.path.len() > steps.len())
}

/// The paths of the rules of a subject as people write them, with `[]` and names of any kind left out.
#[cfg(test)]
pub(crate) fn paths(subject: &str) -> Vec<String> {
    let name = |pattern: &Pattern| match pattern {
        Pattern::Field(NamePattern::Exactly(name)) => Some(*name),
        _ => None,
    };
    let rules = RULES.iter().filter(|rule| rule.subject == subject);
    rules.map(|rule| rule.path.iter().map_while(name).collect::<Vec<_>>().join(".")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_line_of_the_list_is_a_valid_rule() {
        for line in LIST.lines().filter(|line| !line.is_empty() && !line.starts_with('#')) {
            let rules = Rule::parse(line);
            assert!(!rules.is_empty(), "{line}");
            for rule in rules {
                assert!(crate::plan::rendering_policy::subject::ALL.contains(&rule.subject), "{line}");
            }
        }
    }

    #[test]
    fn a_rule_applies_at_its_path_and_not_above_or_below() {
        let field = |name: &str| PathStep::Field(name.to_owned());
        let spec = [field("spec"), field("replicas")];
        assert!(find("istiod", &spec).is_some());
        assert!(find("istiod-service", &spec).is_none());
        assert!(find("istiod", &spec[..1]).is_none() && is_open_below("istiod", &spec[..1]));
        let below = [field("spec"), field("replicas"), field("x")];
        assert!(find("istiod", &below).is_none() && !is_open_below("istiod", &spec));
    }
}
