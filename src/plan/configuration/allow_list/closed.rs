//! Why a value is closed to authors of `Istio` resources, and what to do instead.
//!
//! Pure. The classes are the vocabulary of `closed_values.txt`.

use super::Audience;

/// A class of closed values: the name in `closed_values.txt`, and the reason that a refusal gives.
const CLASSES: [(&str, &str); 16] = [
    ("identity", "it decides who is trusted in the mesh"),
    ("authentication", "it decides how connections and requests are authenticated and authorized"),
    ("enforcement", "it decides which pods and ports are subject to the policies of the mesh"),
    ("isolation", "it decides what namespaces see of each other"),
    ("ownership", "it reaches objects that belong to others"),
    ("code", "it decides which code runs in Istio's pods or in pods with a sidecar"),
    ("file", "it decides which files, volumes, or Secrets Istio's containers read"),
    ("variable", "it is not one of the environment variables that authors of Istio resources may set"),
    ("runtime", "it is a runtime key of Envoy, and some of these switch protections off"),
    ("node", "it changes what Istio does on nodes or how it redirects traffic"),
    ("privilege", "it decides about the privileges of Istio's containers"),
    ("platform", "it describes the platform, which an author of Istio resources does not decide"),
    ("permission", "it changes the permissions or service accounts of Istio"),
    ("webhook", "it changes which requests are sent to Istio's webhooks and how they are answered"),
    ("object", "it decides which objects Istio consists of"),
    ("multicluster", "it connects the mesh with other clusters or networks"),
];

/// A rule that closes a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Closed {
    /// Only the administrator may set it.
    Class {
        /// Why.
        reason: &'static str,
        /// What an author can do instead; may be empty.
        advice: &'static str,
    },
    /// A field of the resource says the same and wins.
    Field(&'static str),
    /// The operator decides, whoever sets it.
    Operator(&'static str),
    /// It would have no effect.
    Obsolete(&'static str),
}

impl Closed {
    /// Reads the class and the advice of a line of `closed_values.txt`.
    pub fn parse(text: &'static str) -> Option<Self> {
        let (class, advice) = text.split_once(' ').unwrap_or((text, ""));
        match class {
            "operator" => Some(Self::Operator(advice)),
            "field" => Some(Self::Field(advice)),
            "obsolete" => Some(Self::Obsolete(advice)),
            _ => {
                let (_, reason) = CLASSES.iter().find(|(name, _)| *name == class)?;
                Some(Self::Class { reason, advice })
            }
        }
    }

    /// Whether the value is closed to `audience`.
    pub fn applies_to(self, audience: Audience) -> bool {
        match self {
            Self::Operator(_) => true,
            Self::Field(_) => audience != Audience::Administrator,
            Self::Class { .. } | Self::Obsolete(_) => audience == Audience::RestrictedAuthor,
        }
    }

    /// Whether the administrator can set what an author cannot.
    pub fn is_for_administrators(self) -> bool {
        matches!(self, Self::Class { .. })
    }

    /// The refusal.
    pub fn message(self) -> String {
        match self {
            Self::Operator(advice) | Self::Field(advice) => format!("cannot be set here: {advice}"),
            Self::Obsolete(advice) => format!("has no effect in this operator: {advice}"),
            Self::Class { reason, advice: "" } => format!("not allowed: {reason}"),
            Self::Class { reason, advice } => format!("not allowed: {reason}; {advice}"),
        }
    }
}
