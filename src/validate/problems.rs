//! Problems of a resource, and the rejection that reports them.
//!
//! Pure. The only place that decides how many problems a message names: whoever finds problems hands over all of them.

use std::fmt;

use crate::api::conditions::{Reason, State};
use crate::text::sanitized;

/// Most problems that a message names; it counts the others.
const MAX_PROBLEMS: usize = 10;
/// Most problems that are kept for a complete report. A resource within its bounds can have thousands.
const MAX_REPORTED: usize = 500;
/// Longest problem in a rejection in bytes: a problem may quote a value.
const MAX_PROBLEM_BYTES: usize = 1024;

/// What somebody else than the author of the resource can do about a problem.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Remedy {
    /// Set the value for every resource.
    AdministratorValues,
    /// Allow patches.
    AllowPatches,
    /// Lift the restrictions on values and patches.
    UnrestrictedOverrides,
}

impl fmt::Display for Remedy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("The administrator of the operator can ")?;
        f.write_str(match self {
            Self::AdministratorValues => {
                "set restricted values with --values-file (chart value istio.values)"
            }
            Self::AllowPatches => "allow patches with --allow-patches (chart value istio.allowPatches)",
            Self::UnrestrictedOverrides => {
                "allow every patch with --overrides=unrestricted (chart value istio.overrides)"
            }
        })
    }
}

/// One thing in a resource that its author has to change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// Path of the field, for example `spec.config.authorizers[1].timeout`.
    pub field: String,
    /// What is wrong with it and what to write instead.
    pub message: String,
    /// How the state of the resource shows it.
    pub state: State,
    /// What somebody else can do about it.
    pub remedy: Option<Remedy>,
}

impl Problem {
    /// A mistake of the author.
    pub(crate) fn warning(field: impl Into<String>, message: impl Into<String>) -> Self {
        Self { field: field.into(), message: message.into(), state: State::Warning, remedy: None }
    }

    /// A mistake that the Go operator reports as an error; tools may wait for exactly that.
    pub(super) fn error(field: impl Into<String>, message: impl Into<String>) -> Self {
        Self { state: State::Error, ..Self::warning(field, message) }
    }

    /// The problem with what somebody else can do about it.
    pub(crate) fn with_remedy(self, remedy: Remedy) -> Self {
        Self { remedy: Some(remedy), ..self }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.field, self.message)
    }
}

/// All problems of a resource. Keeps the first ones, and counts the rest.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Problems {
    kept: Vec<Problem>,
    further: usize,
    /// The worst state of all problems, those that are only counted included.
    state: Option<State>,
}

impl Problems {
    pub fn push(&mut self, problem: Problem) {
        self.state = self.state.max(Some(problem.state));
        if self.kept.len() < MAX_REPORTED {
            self.kept.push(problem);
        } else {
            self.further += 1;
        }
    }

    pub fn is_empty(&self) -> bool {
        self.kept.is_empty()
    }

    /// The rejection that reports the problems; `None` if there are none.
    pub fn into_rejection(self) -> Option<Rejection> {
        let state = self.state?;
        let mut remedies: Vec<Remedy> = self.kept.iter().filter_map(|problem| problem.remedy).collect();
        remedies.sort_unstable();
        remedies.dedup();
        let lines = self.kept.iter().map(|problem| sanitized(&problem.to_string(), MAX_PROBLEM_BYTES));
        let mut problems: Vec<String> = lines.collect();
        let further = problems.len() + self.further - problems.len().min(MAX_PROBLEMS);
        let mut parts: Vec<&str> = problems.iter().take(MAX_PROBLEMS).map(String::as_str).collect();
        let rest = and_more(further);
        parts.extend(rest.as_deref());
        let remedies: Vec<String> = remedies.iter().map(ToString::to_string).collect();
        let message = std::iter::once(parts.join("; ")).chain(remedies.iter().cloned());
        let message = message.collect::<Vec<_>>().join(". ");
        problems.extend(and_more(self.further));
        problems.extend(remedies);
        Some(Rejection { reason: Reason::ValidationFailed, state, message, problems })
    }
}

impl Extend<Problem> for Problems {
    fn extend<I: IntoIterator<Item = Problem>>(&mut self, problems: I) {
        problems.into_iter().for_each(|problem| self.push(problem));
    }
}

impl FromIterator<Problem> for Problems {
    fn from_iter<I: IntoIterator<Item = Problem>>(problems: I) -> Self {
        let mut collected = Self::default();
        collected.extend(problems);
        collected
    }
}

fn and_more(count: usize) -> Option<String> {
    match count {
        0 => None,
        1 => Some("and 1 more problem".to_owned()),
        more => Some(format!("and {more} more problems")),
    }
}

/// Why a resource is not followed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rejection {
    /// Reason of the `Ready` condition.
    pub reason: Reason,
    /// State of the resource.
    pub state: State,
    /// For the author of the resource: what is wrong, where, and what to do. One line of bounded length.
    pub message: String,
    /// The lines of a complete report, for a terminal; empty if the message says everything.
    pub problems: Vec<String>,
}

impl Rejection {
    /// A rejection that is one sentence.
    pub(crate) fn new(reason: Reason, state: State, message: impl Into<String>) -> Self {
        Self { reason, state, message: message.into(), problems: Vec::new() }
    }

    /// The complete report: each problem on a line of its own.
    #[must_use]
    pub fn report(&self) -> String {
        match &*self.problems {
            [] | [_] => self.message.clone(),
            problems => format!("the resource has problems:\n  {}", problems.join("\n  ")),
        }
    }
}

impl fmt::Display for Rejection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Rejection {}

#[cfg(test)]
mod tests {
    use super::*;

    fn rejection(problems: impl IntoIterator<Item = Problem>) -> Rejection {
        problems.into_iter().collect::<Problems>().into_rejection().unwrap()
    }

    #[test]
    fn no_problem_is_no_rejection() {
        assert_eq!(Problems::default().into_rejection(), None);
    }

    #[test]
    fn a_message_names_ten_problems_and_counts_the_others() {
        for (count, end) in [
            (1, "#0: no"),
            (10, "#9: no"),
            (11, "#9: no; and 1 more problem"),
            (60_000, "#9: no; and 59990 more problems"),
        ] {
            let message =
                rejection((0..count).map(|number| Problem::warning(format!("#{number}"), "no"))).message;
            assert!(message.starts_with("#0: no"), "{message}");
            assert!(message.ends_with(end), "{message}");
            assert_eq!(message.matches(": no").count(), count.min(10), "{message}");
        }
    }

    #[test]
    fn a_report_has_a_line_for_each_problem_and_each_remedy() {
        let problem = |number: usize| {
            Problem::warning(format!("#{number}"), "no").with_remedy(Remedy::AdministratorValues)
        };
        let rejection = rejection((0..12).map(problem));
        assert_eq!(rejection.message.matches("--values-file").count(), 1, "{rejection}");
        assert!(rejection.message.contains("and 2 more problems. The administrator"), "{rejection}");
        assert_eq!(rejection.report().lines().count(), 1 + 12 + 1, "{}", rejection.report());
    }

    #[test]
    fn a_problem_that_is_not_named_counts_for_the_state() {
        let mut problems = vec![Problem::warning("a", "no"); 600];
        problems.push(Problem::error("b", "no"));
        assert_eq!(rejection(problems).state, State::Error);
    }

    #[test]
    fn a_message_is_one_line_of_bounded_length() {
        let hostile = "x\n2026-01-01 INFO all is well \u{1b}[0m\u{202e}".repeat(10_000);
        let message = rejection(vec![Problem::warning(hostile.clone(), hostile); 100]).message;
        assert!(message.len() < 11 * 1024, "{}", message.len());
        assert!(!message.contains(crate::text::is_unsafe));
        assert!(message.ends_with("…; and 90 more problems"), "{message}");
    }
}
