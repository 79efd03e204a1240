//! Versions.

use std::rc::Rc;

use super::Type::String as Text;
use super::{Answer, Function, plain, text};
use crate::environment::CallResult;
use crate::semver::{Constraint, Version};
use crate::value::{Object, Value};

pub(super) const FUNCTIONS: &[Function] = &[
    plain("semver", &[Text], |a| Ok(Value::Object(Rc::new(SemVer(version(&text(a, 0))?))))),
    plain("semverCompare", &[Text, Text], compare),
];

fn version(text: &str) -> Result<Version, String> {
    Version::parse(text).ok_or_else(|| "invalid semantic version".to_owned())
}

fn compare(arguments: &[Value]) -> Answer {
    let constraint = Constraint::parse(&text(arguments, 0)).map_err(|error| error.to_string())?;
    Ok(Value::Bool(constraint.check(&version(&text(arguments, 1))?)))
}

/// A version as templates see it.
struct SemVer(Version);

impl Object for SemVer {
    fn type_name(&self) -> &'static str {
        "*semver.Version"
    }

    fn field(&self, _: &str) -> Option<Value> {
        None
    }

    fn call(&self, method: &str, arguments: &[Value]) -> Option<CallResult> {
        let number = |number: u64| Value::int(usize::try_from(number).unwrap_or(usize::MAX));
        let value = match (method, arguments) {
            ("Major", []) => number(self.0.major),
            ("Minor", []) => number(self.0.minor),
            ("Patch", []) => number(self.0.patch),
            ("Prerelease", []) => Value::string(&self.0.pre),
            ("Metadata", []) => Value::string(&self.0.metadata),
            ("Original", []) => Value::string(self.0.original()),
            ("String", []) => Value::string(self.0.to_string()),
            ("Compare" | "Equal" | "LessThan" | "GreaterThan", [other]) => {
                return Some(self.compared(method, other).map_err(Into::into));
            }
            ("IncMajor" | "IncMinor" | "IncPatch", []) => {
                let incremented = self.incremented(method).map_err(Into::into);
                return Some(incremented.map(|version| Value::Object(Rc::new(Self(version)))));
            }
            _ => return None,
        };
        Some(Ok(value))
    }

    fn print(&self) -> String {
        self.0.to_string()
    }

    /// Sprig's copies do not have what Go hides in a version, which is all of it.
    fn deep_copy(&self) -> Option<Value> {
        Some(Value::Object(Rc::new(Self(Version::default()))))
    }

    fn data(&self) -> Option<Value> {
        Some(Value::string(self.0.to_string()))
    }
}

impl SemVer {
    /// Compares with another version, of which templates hold the text.
    fn compared(&self, method: &str, other: &Value) -> Result<Value, String> {
        let Value::Object(object) = other else {
            return Err(format!("wrong type for value; expected *semver.Version; got {}", other.type_name()));
        };
        let ordering = self.0.compare(&version(&object.print())?);
        Ok(match method {
            "Compare" => Value::Int(ordering as i64),
            "Equal" => Value::Bool(ordering.is_eq()),
            "LessThan" => Value::Bool(ordering.is_lt()),
            _ => Value::Bool(ordering.is_gt()),
        })
    }

    fn incremented(&self, method: &str) -> Result<Version, String> {
        let Version { major, minor, patch, .. } = self.0;
        let is_release = self.0.pre.is_empty();
        let next = |number: u64, step: u64| {
            number.checked_add(step).ok_or_else(|| "version increment would overflow uint64".to_owned())
        };
        let text = match method {
            "IncMajor" => format!("{}.0.0", next(major, 1)?),
            "IncMinor" => format!("{major}.{}.0", next(minor, 1)?),
            // The version that a pre-release leads to.
            _ => format!("{major}.{minor}.{}", next(patch, u64::from(is_release))?),
        };
        version(&text)
    }
}
