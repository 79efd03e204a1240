//! Classes of names that an author may choose: keys of labels and annotations, and variables.
//!
//! Pure. Which keys are open, `plan::keys` says.

use crate::names::is_label_key;
use crate::plan::keys::KeyUse;

const VARIABLES: &str = include_str!("variables.txt");

/// A set of names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum NameClass {
    /// Labels and annotations that are open to authors.
    Key(KeyUse),
    /// Labels of nodes.
    NodeLabel,
    /// The probes of a container.
    Probe,
    /// The numbers of a probe.
    ProbeNumber,
    /// Environment variables of this program, as in `variables.txt`.
    Variable(&'static str),
}

impl NameClass {
    /// Reads the words in braces of a line of `fields.txt`; `None` if there is no such class.
    pub fn parse(text: &str) -> Option<Self> {
        Some(match text {
            "label" => Self::Key(KeyUse::Label),
            "annotation" => Self::Key(KeyUse::WorkloadAnnotation),
            "pod-annotation" => Self::Key(KeyUse::PodAnnotation),
            "service-annotation" => Self::Key(KeyUse::ServiceAnnotation),
            "istiod-service-annotation" => Self::Key(KeyUse::IstiodServiceAnnotation),
            "node-label" => Self::NodeLabel,
            "probe" => Self::Probe,
            "probe-number" => Self::ProbeNumber,
            "istiod-variable" => Self::Variable("istiod"),
            "proxy-variable" => Self::Variable("proxy"),
            "ztunnel-variable" => Self::Variable("ztunnel"),
            _ => return None,
        })
    }

    pub fn accepts(self, name: &str) -> bool {
        match self {
            Self::Key(key_use) => key_use.accepts(name),
            Self::Variable(program) => is_variable(program, name),
            Self::Probe => matches!(name, "livenessProbe" | "readinessProbe" | "startupProbe"),
            Self::ProbeNumber => matches!(
                name,
                "failureThreshold"
                    | "initialDelaySeconds"
                    | "periodSeconds"
                    | "successThreshold"
                    | "terminationGracePeriodSeconds"
                    | "timeoutSeconds"
            ),
            Self::NodeLabel => is_label_key(name),
        }
    }
}

fn is_variable(program: &str, name: &str) -> bool {
    VARIABLES.lines().filter_map(|line| line.split_once(' ')).any(|listed| listed == (program, name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_line_of_the_variables_belongs_to_a_program() {
        for line in VARIABLES.lines().filter(|line| !line.is_empty() && !line.starts_with('#')) {
            let (program, name) = line.split_once(' ').unwrap();
            assert!(["istiod", "proxy", "ztunnel"].contains(&program), "{line}");
            assert!(NameClass::Variable(program).accepts(name) && !name.contains(' '), "{line}");
        }
    }

    #[test]
    fn an_unknown_class_is_not_read() {
        assert_eq!(NameClass::parse("isitod-variable"), None);
    }

    #[test]
    fn variables_belong_to_one_program() {
        assert!(NameClass::Variable("istiod").accepts("PILOT_PUSH_THROTTLE"));
        assert!(!NameClass::Variable("proxy").accepts("PILOT_PUSH_THROTTLE"));
        for name in ["CA_TRUSTED_NODE_ACCOUNTS", "XDS_AUTH", "REVISION", "PATH", "HTTPS_PROXY", ""] {
            assert!(!NameClass::Variable("istiod").accepts(name), "{name}");
        }
    }
}
