//! FIPS mode: which cryptographic module the operator's own connections use, and whether that is what was asked for.
//!
//! FIPS mode selects Istio's images. The operator's own connections, which are all TLS, are a matter of its build: the
//! cargo feature `fips` replaces AWS-LC by its FIPS module.

use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::registry::Registry;
use rustls::crypto::CryptoProvider;
use tracing::{info, warn};

/// Turns FIPS mode on if it is exactly `true`, as in the Go operator.
const FIPS_MODE_VARIABLE: &str = "KYMA_FIPS_MODE_ENABLED";

/// Whether the environment turns FIPS mode on.
pub fn mode(lookup: impl Fn(&str) -> Option<String>) -> Mode {
    if lookup(FIPS_MODE_VARIABLE).is_some_and(|value| value == "true") { Mode::On } else { Mode::Off }
}

/// Whether FIPS mode is on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// Istio runs from its FIPS images.
    On,
    /// Istio runs from its usual images.
    Off,
}

/// What the administrator accepts (`--require-fips`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Policy {
    /// The operator starts in any case, and logs what FIPS mode does not cover.
    Report,
    /// The operator starts only if its own TLS uses a FIPS module.
    Require,
}

/// The cryptographic module behind the TLS of this process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Module {
    /// A FIPS module, restricted to approved algorithms.
    Fips,
    /// Any other.
    Other,
}

/// How much of the operator and Istio FIPS mode covers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Coverage {
    /// Nothing was asked for.
    NotRequested,
    /// Istio's images, but not the operator's own connections.
    IstioOnly,
    /// Whatever was asked for.
    Complete,
}

/// `--require-fips` is set, and this build cannot comply.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "the operator does not start: --require-fips is set, but this build has no FIPS module for its TLS connections. \
     Use an image that is built with the cargo feature `fips`"
)]
pub struct NoFipsModule;

/// Decides whether the operator may start, and what FIPS mode covers if it does.
pub fn coverage(mode: Mode, policy: Policy, module: Module) -> Result<Coverage, NoFipsModule> {
    match (policy, mode, module) {
        (Policy::Require, _, Module::Other) => Err(NoFipsModule),
        (Policy::Report, Mode::On, Module::Other) => Ok(Coverage::IstioOnly),
        (Policy::Report, Mode::Off, _) => Ok(Coverage::NotRequested),
        (Policy::Require, _, Module::Fips) | (Policy::Report, Mode::On, Module::Fips) => {
            Ok(Coverage::Complete)
        }
    }
}

impl Coverage {
    /// Logs what an administrator who asked for FIPS has to know.
    pub fn log(self) {
        match self {
            Self::NotRequested => {}
            Self::Complete => info!("the TLS connections of the operator use a FIPS module"),
            Self::IstioOnly => warn!(
                "FIPS mode is incomplete: {FIPS_MODE_VARIABLE} selects Istio's FIPS images, but the TLS connections of the operator \
                 itself, to the API server, use a cryptographic module that is not a FIPS module. Use an image that is \
                 built with the cargo feature `fips`, and --require-fips to refuse any other"
            ),
        }
    }
}

/// Makes this build's cryptographic module the one of all TLS connections of the process. Has an effect only before the
/// first connection, and only once.
pub fn install() {
    // Fails only if a module is installed already, which is then this one: nothing else in the program installs any.
    let _ = provider().install_default();
}

#[cfg(feature = "fips")]
fn provider() -> CryptoProvider {
    rustls::crypto::default_fips_provider()
}

#[cfg(not(feature = "fips"))]
fn provider() -> CryptoProvider {
    rustls::crypto::aws_lc_rs::default_provider()
}

impl Module {
    /// The module that [`install`] chose. The module itself says whether it is a FIPS module and works as one; the
    /// feature that this was built with is no proof.
    #[must_use]
    pub fn installed() -> Self {
        if CryptoProvider::get_default().is_some_and(|provider| provider.fips()) {
            Self::Fips
        } else {
            Self::Other
        }
    }

    /// Adds the metric `istio_manager_fips_module`: 1 for a FIPS module, otherwise 0.
    pub fn register(self, registry: &mut Registry) {
        let help = "Whether the TLS connections of this process use a FIPS module (1) or another one (0)";
        let metric = ConstGauge::new(i64::from(self == Self::Fips));
        registry.register("istio_manager_fips_module", help, metric);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fips_mode_is_on_for_exactly_true() {
        for (value, expected) in [
            (Some("true"), Mode::On),
            (Some("True"), Mode::Off),
            (Some("1"), Mode::Off),
            (Some(""), Mode::Off),
            (None, Mode::Off),
        ] {
            assert_eq!(
                mode(|name| value.filter(|_| name == FIPS_MODE_VARIABLE).map(str::to_owned)),
                expected,
                "{value:?}"
            );
        }
    }

    #[test]
    fn a_start_needs_a_fips_module_only_where_it_is_required() {
        use Coverage::{Complete, IstioOnly, NotRequested};
        for (mode, policy, module, expected) in [
            (Mode::Off, Policy::Report, Module::Other, Ok(NotRequested)),
            (Mode::Off, Policy::Report, Module::Fips, Ok(NotRequested)),
            (Mode::On, Policy::Report, Module::Other, Ok(IstioOnly)),
            (Mode::On, Policy::Report, Module::Fips, Ok(Complete)),
            (Mode::Off, Policy::Require, Module::Other, Err(NoFipsModule)),
            (Mode::On, Policy::Require, Module::Other, Err(NoFipsModule)),
            (Mode::Off, Policy::Require, Module::Fips, Ok(Complete)),
            (Mode::On, Policy::Require, Module::Fips, Ok(Complete)),
        ] {
            assert_eq!(coverage(mode, policy, module), expected, "{mode:?} {policy:?} {module:?}");
        }
    }

    #[test]
    fn the_module_in_use_is_the_one_of_the_build() {
        install();
        let expected = if cfg!(feature = "fips") { Module::Fips } else { Module::Other };
        assert_eq!(Module::installed(), expected);
    }
}
