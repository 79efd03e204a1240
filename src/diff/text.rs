//! A change as a unified diff of YAML.
//! Pure; whether the output is a terminal with colors is known to the caller.

use std::time::Duration;

use gotemplate::yaml;
use serde_json::Value;
use similar::{Algorithm, ChangeTag, TextDiff};

use super::ObjectDiff;

const CONTEXT_LINES: usize = 3;
/// Time limit of the search for the shortest diff of one object, after which a longer one is used. CRDs have ten thousand lines.
const DIFF_TIMEOUT: Duration = Duration::from_secs(2);

/// The style of the output.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Style {
    /// Text only, which `patch` can read.
    Plain,
    /// With ANSI colors.
    Colored,
}

/// The unified diff of a change; empty if there is none.
#[must_use]
pub fn unified(change: &ObjectDiff, style: Style) -> String {
    if change.is_unchanged() {
        return String::new();
    }
    let (before, after) = (yaml_of(change.before.as_ref()), yaml_of(change.after.as_ref()));
    let diff =
        TextDiff::configure().algorithm(Algorithm::Myers).timeout(DIFF_TIMEOUT).diff_lines(&before, &after);
    let mut text = String::new();
    let path = path(change);
    let name = |side: &str, object: Option<&Value>| match object {
        Some(_) => format!("{side}/{path}"),
        None => "/dev/null".to_owned(),
    };
    push(&mut text, style, BOLD, &format!("--- {}", name("live", change.before.as_ref())));
    push(&mut text, style, BOLD, &format!("+++ {}", name("applied", change.after.as_ref())));
    for hunk in diff.unified_diff().context_radius(CONTEXT_LINES).iter_hunks() {
        push(&mut text, style, CYAN, &hunk.header().to_string());
        for line in hunk.iter_changes() {
            let (sign, color) = match line.tag() {
                ChangeTag::Delete => ('-', RED),
                ChangeTag::Insert => ('+', GREEN),
                ChangeTag::Equal => (' ', ""),
            };
            push(&mut text, style, color, &format!("{sign}{}", line.value().trim_end_matches('\n')));
        }
    }
    text
}

const BOLD: &str = "\x1b[1m";
const CYAN: &str = "\x1b[36m";
const RED: &str = "\x1b[31m";
const GREEN: &str = "\x1b[32m";
const RESET: &str = "\x1b[0m";

fn push(text: &mut String, style: Style, color: &str, line: &str) {
    if style == Style::Plain || color.is_empty() {
        text.push_str(line);
    } else {
        text.push_str(&format!("{color}{line}{RESET}"));
    }
    text.push('\n');
}

fn path(change: &ObjectDiff) -> String {
    let object = &change.object;
    let parts = [Some(object.kind.as_str()), object.namespace.as_deref(), Some(object.name.as_str())];
    parts.into_iter().flatten().collect::<Vec<_>>().join("/")
}

fn yaml_of(object: Option<&Value>) -> String {
    object.map(|object| yaml::json_to_string(object).trim_end().to_owned() + "\n").unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::kubernetes::object::ObjectId;

    fn change(before: Option<u32>, after: Option<u32>) -> ObjectDiff {
        let manifest = |replicas: u32| {
            json!({"apiVersion": "apps/v1", "kind": "Deployment",
                "metadata": {"name": "istiod", "namespace": "istio-system"}, "spec": {"replicas": replicas}})
        };
        let (before, after) = (before.map(manifest), after.map(manifest));
        let object = ObjectId::of(before.as_ref().or(after.as_ref()).unwrap()).unwrap();
        ObjectDiff { object, before, after }
    }

    #[test]
    fn a_changed_field_is_shown_with_its_surroundings() {
        let expected = "\
--- live/Deployment/istio-system/istiod
+++ applied/Deployment/istio-system/istiod
@@ -4,4 +4,4 @@
   name: istiod
   namespace: istio-system
 spec:
-  replicas: 1
+  replicas: 3
";
        assert_eq!(unified(&change(Some(1), Some(3)), Style::Plain), expected);
    }

    #[test]
    fn a_created_or_deleted_object_has_nothing_on_the_other_side() {
        let created = unified(&change(None, Some(1)), Style::Plain);
        assert!(created.starts_with("--- /dev/null\n+++ applied/Deployment/"), "{created}");
        assert!(created.lines().skip(3).all(|line| line.starts_with('+')), "{created}");
        let deleted = unified(&change(Some(1), None), Style::Plain);
        assert!(deleted.starts_with("--- live/Deployment/istio-system/istiod\n+++ /dev/null\n"), "{deleted}");
        assert!(deleted.lines().skip(3).all(|line| line.starts_with('-')), "{deleted}");
    }

    #[test]
    fn an_unchanged_object_is_not_shown() {
        assert_eq!(unified(&change(Some(1), Some(1)), Style::Colored), "");
    }

    #[test]
    fn colors_are_added_around_the_same_text() {
        let colored = unified(&change(Some(1), Some(3)), Style::Colored);
        assert!(
            colored.contains("\x1b[31m-  replicas: 1\x1b[0m\n\x1b[32m+  replicas: 3\x1b[0m\n"),
            "{colored:?}"
        );
        let bare = [BOLD, CYAN, RED, GREEN, RESET].iter().fold(colored, |text, code| text.replace(code, ""));
        assert_eq!(bare, unified(&change(Some(1), Some(3)), Style::Plain));
    }
}
