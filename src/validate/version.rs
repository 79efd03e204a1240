//! Decides whether Istio can go from the installed to the wanted version in one step.
//!
//! Pure. Istio supports upgrades of one minor version and no downgrades: <https://istio.io/latest/docs/setup/upgrade/>.
//! Installed is the version whose installation was complete last, so going back after a failed upgrade is no downgrade.

use semver::Version;

use super::Rejection;
use crate::api::conditions::{Reason, State};
use crate::api::names::ALLOW_DOWNGRADE_ANNOTATION;

/// A step between versions that may be taken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum VersionStep {
    /// Nothing is known to be installed, or the same version is.
    None,
    /// To another version.
    To {
        /// Version that was complete last.
        from: Version,
        /// Version to install.
        to: Version,
    },
}

impl VersionStep {
    /// How to go back while the step is not complete, as the end of a sentence; empty where there is no way back.
    #[must_use]
    pub fn advice(&self) -> String {
        let Self::To { from, to } = self else { return String::new() };
        format!(
            " (Istio goes from {from} to {to}; to go back, run the operator that has {from} built in, or this one with \
             --istio-version={from} and the charts of {from} in --charts-dir)"
        )
    }
}

/// Checks the step from the `installed` version to the `wanted` one. Both may have a suffix, as image tags do; what is
/// not a version counts as unknown. `allowed_downgrade` is the value of [`ALLOW_DOWNGRADE_ANNOTATION`].
///
/// # Errors
/// A rejection that says how to continue.
pub fn check_version_step(
    installed: Option<&str>,
    wanted: &str,
    allowed_downgrade: Option<&str>,
) -> Result<VersionStep, Rejection> {
    let (Some(from), Some(to)) = (installed.and_then(release_version), release_version(wanted)) else {
        return Ok(VersionStep::None);
    };
    let refused = |reason: String| {
        Err(Rejection::new(
            Reason::IstioVersionUpdateNotAllowed,
            State::Warning,
            format!("Istio version update is not allowed: {reason}"),
        ))
    };
    if from == to {
        return Ok(VersionStep::None);
    }
    if to < from {
        if allowed_downgrade.and_then(release_version) == Some(to.clone()) {
            return Ok(VersionStep::To { from, to });
        }
        return refused(format!(
            "Istio {from} is installed and {to} is older. Install {from} or a newer version; to downgrade at your own risk, set \
             the annotation {ALLOW_DOWNGRADE_ANNOTATION} of this resource to {to}"
        ));
    }
    if to.major != from.major {
        return refused(format!(
            "Istio {from} is installed and {to} is another major version. Install a version {}.x",
            from.major
        ));
    }
    if to.minor > from.minor + 1 {
        return refused(format!(
            "Istio {from} is installed and {to} is more than one minor version ahead. Install a version {}.{}.x first",
            from.major,
            from.minor + 1
        ));
    }
    Ok(VersionStep::To { from, to })
}

/// The release that a version or image tag is of: its numbers, without suffix and build.
#[must_use]
pub fn release_version(tag: &str) -> Option<Version> {
    let version = Version::parse(tag.trim()).ok()?;
    Some(Version::new(version.major, version.minor, version.patch))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn supported_version_steps_are_accepted() {
        for (installed, wanted) in [
            (None, "1.31.0"),
            (Some("1.31.0"), "1.31.0"),
            (Some("1.31.0-distroless"), "1.31.0"),
            (Some("1.31.0"), "1.31.4-distroless"),
            (Some("1.30.9"), "1.31.0"),
            // What cannot be read must not keep a cluster from being repaired.
            (Some(""), "1.31.0"),
            (Some("latest"), "1.31.0"),
        ] {
            assert!(check_version_step(installed, wanted, None).is_ok(), "{installed:?} to {wanted}");
        }
        let result = check_version_step(Some("1.30.3-distroless"), "1.31.0", None);
        assert_eq!(result, Ok(VersionStep::To { from: Version::new(1, 30, 3), to: Version::new(1, 31, 0) }));
    }

    #[test]
    fn unsupported_version_steps_are_refused_with_advice() {
        for (installed, wanted, advice) in [
            (
                "1.31.0",
                "1.30.3",
                "istios.operator.kyma-project.io/allow-downgrade of this resource to 1.30.3",
            ),
            ("1.31.1", "1.31.0", "Install 1.31.1"),
            ("2.0.0", "1.31.0", "Install 2.0.0"),
            ("1.31.0", "2.0.0", "Install a version 1.x"),
            ("1.29.4", "1.31.0", "Install a version 1.30.x first"),
        ] {
            let refused = check_version_step(Some(installed), wanted, None).unwrap_err();
            assert_eq!(
                (refused.reason, refused.state),
                (Reason::IstioVersionUpdateNotAllowed, State::Warning)
            );
            assert!(refused.message.starts_with("Istio version update is not allowed: "), "{refused}");
            for text in [installed, wanted, advice] {
                assert!(refused.message.contains(text), "{text} is missing in: {refused}");
            }
        }
    }

    #[test]
    fn a_downgrade_is_allowed_for_the_named_version_only() {
        for (annotation, allowed) in [
            (Some("1.30.3"), true),
            (Some("1.30.3-distroless"), true),
            (Some("1.30.2"), false),
            (Some("true"), false),
            (Some(""), false),
            (None, false),
        ] {
            assert_eq!(
                check_version_step(Some("1.31.0"), "1.30.3", annotation).is_ok(),
                allowed,
                "{annotation:?}"
            );
        }
        // It allows a step back, not a leap forward.
        assert!(check_version_step(Some("1.29.0"), "1.31.0", Some("1.31.0")).is_err());
    }

    fn any_version() -> impl Strategy<Value = Version> {
        (0_u64..3, 0_u64..4, 0_u64..3).prop_map(|(major, minor, patch)| Version::new(major, minor, patch))
    }

    proptest! {
        #[test]
        fn no_step_goes_back_or_skips_a_minor_version(from in any_version(), to in any_version()) {
            let accepted = check_version_step(Some(&from.to_string()), &to.to_string(), None).is_ok();
            let supported = from <= to && from.major == to.major && to.minor <= from.minor + 1;
            prop_assert_eq!(accepted, supported);
        }
    }
}
