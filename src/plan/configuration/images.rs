//! The container images of Istio, from the environment of the operator.
//!
//! Pure. Reads names and compares them; whether an image exists, only Kubernetes knows.

use std::fmt;

use serde_json::{Value, json};

use super::merge;
use crate::fips;

/// Registry of Istio's own images, used when the environment names none.
const DEFAULT_HUB: &str = "docker.io/istio";
/// Suffix of the tags of the default images.
const DEFAULT_VARIANT: &str = "distroless";
/// Names the pull Secret of Istio's pods.
const PULL_SECRET_VARIABLE: &str = "SKR_IMG_PULL_SECRET";

/// Why the images cannot be used.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// Some required variables have no value, others do.
    #[error("environment variables without an image: {}. Set all of them", .variables.join(", "))]
    Missing {
        /// The variables in question.
        variables: Vec<String>,
    },
    /// A value is not an image with registry and tag.
    #[error("environment variable {variable}: {image:?} is not an image of the form registry/name:tag")]
    Malformed {
        /// The variable in question.
        variable: String,
        /// Its value.
        image: String,
    },
    /// Images of different registries or tags.
    #[error("environment variable {variable}: {image} must have the registry and tag of {pilot}")]
    Inconsistent {
        /// The variable in question.
        variable: String,
        /// Its value.
        image: String,
        /// The image that the others are compared with.
        pilot: String,
    },
    /// Images of another version than the charts.
    #[error(
        "the images have the tag {tag}, which is not Istio {istio_version}. Change the images or the version of Istio"
    )]
    OtherVersion {
        /// Tag of the images.
        tag: String,
        /// Version of Istio that is to be installed.
        istio_version: String,
    },
}

/// The images of one version of Istio, from one registry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Images {
    /// Registry and path of all images.
    pub hub: String,
    /// Tag of all images, without a digest.
    pub tag: String,
    /// Image of istiod.
    pub pilot: String,
    /// Image of the CNI agent.
    pub install_cni: String,
    /// Image of the proxies.
    pub proxy: String,
    /// Image of ztunnel; `None` in FIPS mode without one of its own.
    pub ztunnel: Option<String>,
    /// Name of the pull Secret of Istio's pods.
    pub pull_secret: Option<String>,
}

impl fmt::Display for Images {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/*:{}", self.hub, self.tag)
    }
}

impl Images {
    /// Istio's own images of a version, without a pull Secret.
    #[must_use]
    pub fn official(istio_version: &str) -> Self {
        let tag = format!("{istio_version}-{DEFAULT_VARIANT}");
        let image = |name: &str| format!("{DEFAULT_HUB}/{name}:{tag}");
        Self {
            hub: DEFAULT_HUB.to_owned(),
            pilot: image("pilot"),
            install_cni: image("install-cni"),
            proxy: image("proxyv2"),
            ztunnel: Some(image("ztunnel")),
            pull_secret: None,
            tag,
        }
    }

    /// Reads the images for Istio `istio_version` (`major.minor.patch`) from the environment: the variables `pilot`,
    /// `install-cni`, `proxyv2` and `ztunnel`, each with the suffix `-fips` in FIPS mode. Without any of them Istio's
    /// own images are used, except in FIPS mode, for which Istio has none.
    pub fn from_environment(
        lookup: impl Fn(&str) -> Option<String>,
        istio_version: &str,
    ) -> Result<Self, Error> {
        let read = |name: &str| lookup(name).filter(|value| !value.is_empty());
        let fips = fips::mode(&lookup) == fips::Mode::On;
        let suffix = if fips { "-fips" } else { "" };
        let variable = |name: &str| format!("{name}{suffix}");
        let given = ["pilot", "install-cni", "proxyv2", "ztunnel"]
            .map(|name| (variable(name), read(&variable(name))));
        let pull_secret = read(PULL_SECRET_VARIABLE);
        if !fips && given.iter().all(|(_, image)| image.is_none()) {
            return Ok(Self { pull_secret, ..Self::official(istio_version) });
        }
        let [
            (pilot_variable, pilot),
            (cni_variable, cni),
            (proxy_variable, proxy),
            (ztunnel_variable, ztunnel),
        ] = given;
        let (Some(pilot), Some(install_cni), Some(proxy)) = (&pilot, &cni, &proxy) else {
            let required = [(pilot_variable, &pilot), (cni_variable, &cni), (proxy_variable, &proxy)];
            let missing =
                required.into_iter().filter(|(_, image)| image.is_none()).map(|(variable, _)| variable);
            return Err(Error::Missing { variables: missing.collect() });
        };
        let others = [
            (&cni_variable, Some(install_cni)),
            (&proxy_variable, Some(proxy)),
            (&ztunnel_variable, ztunnel.as_ref()),
        ];
        let (hub, tag) = shared_hub_and_tag(&pilot_variable, pilot, others)?;
        check_version(tag, istio_version)?;
        // A mirror holds it under Istio's own name; images for FIPS are named differently.
        let ztunnel = ztunnel.clone().or_else(|| (!fips).then(|| format!("{hub}/ztunnel:{tag}")));
        Ok(Self {
            hub: hub.to_owned(),
            tag: tag.to_owned(),
            pilot: pilot.clone(),
            install_cni: install_cni.clone(),
            proxy: proxy.clone(),
            ztunnel,
            pull_secret,
        })
    }

    /// Merges the images into the document.
    pub(super) fn merge_into(&self, document: &mut Value) {
        merge::merge(
            document,
            &json!({"spec": {
                "hub": self.hub,
                "tag": self.tag,
                "values": {
                    "pilot": {"image": self.pilot},
                    "cni": {"image": self.install_cni},
                    "global": {"proxy": {"image": self.proxy}, "proxy_init": {"image": self.proxy}},
                },
            }}),
        );
        let secrets =
            document.pointer_mut("/spec/values/global/imagePullSecrets").and_then(Value::as_array_mut);
        if let (Some(secret), Some(secrets)) = (&self.pull_secret, secrets)
            && !secrets.iter().any(|existing| existing == secret.as_str())
        {
            secrets.push(json!(secret));
        }
    }
}

/// Registry and tag that all images share.
fn shared_hub_and_tag<'a>(
    pilot_variable: &str,
    pilot: &'a str,
    others: [(&String, Option<&String>); 3],
) -> Result<(&'a str, &'a str), Error> {
    let malformed = |variable: &str, image: &str| Error::Malformed {
        variable: variable.to_owned(),
        image: image.to_owned(),
    };
    let common = split_image(pilot).ok_or_else(|| malformed(pilot_variable, pilot))?;
    for (variable, image) in others.into_iter().filter_map(|(variable, image)| Some((variable, image?))) {
        if split_image(image).ok_or_else(|| malformed(variable, image))? != common {
            return Err(Error::Inconsistent {
                variable: variable.clone(),
                image: image.clone(),
                pilot: pilot.to_owned(),
            });
        }
    }
    Ok(common)
}

/// Registry and tag of an image: what is before the last slash, and what is after the first colon behind it, without a
/// digest. A digest alone does not tell the version, so there is no image without a tag.
fn split_image(image: &str) -> Option<(&str, &str)> {
    let named = image.split_once('@').map_or(image, |(named, _)| named);
    let (hub, name) = named.rsplit_once('/')?;
    let (name, tag) = name.split_once(':')?;
    [hub, name, tag].iter().all(|part| !part.is_empty()).then_some((hub, tag))
}

/// A tag is the version of Istio, perhaps followed by a suffix: `1.31.0-distroless`.
fn check_version(tag: &str, istio_version: &str) -> Result<(), Error> {
    let core = |version: &str| {
        semver::Version::parse(version).ok().map(|version| (version.major, version.minor, version.patch))
    };
    match (core(tag), core(istio_version)) {
        (Some(tag), Some(version)) if tag == version => Ok(()),
        _ => Err(Error::OtherVersion { tag: tag.to_owned(), istio_version: istio_version.to_owned() }),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    fn read(environment: &[(&str, &str)]) -> Result<Images, Error> {
        let environment: BTreeMap<_, _> = environment.iter().copied().collect();
        Images::from_environment(|name| environment.get(name).map(|value| (*value).to_owned()), "1.31.0")
    }

    const COMPLETE: [(&str, &str); 3] = [
        ("pilot", "example.com:5000/a/pilot:1.31.0-debug@sha256:12"),
        ("install-cni", "example.com:5000/a/cni:1.31.0-debug"),
        ("proxyv2", "example.com:5000/a/proxy:1.31.0-debug"),
    ];

    fn with(changes: &[(&'static str, &'static str)]) -> Vec<(&'static str, &'static str)> {
        COMPLETE.into_iter().chain(changes.iter().copied()).collect()
    }

    #[test]
    fn without_variables_istios_own_images_are_used() {
        let images = read(&[("SKR_IMG_PULL_SECRET", "pull")]).unwrap();
        assert_eq!(images.pilot, "docker.io/istio/pilot:1.31.0-distroless");
        assert_eq!(images.ztunnel.as_deref(), Some("docker.io/istio/ztunnel:1.31.0-distroless"));
        assert_eq!(images.pull_secret.as_deref(), Some("pull"));
    }

    #[test]
    fn registry_and_tag_are_what_the_images_share() {
        let images = read(&COMPLETE).unwrap();
        assert_eq!((images.hub.as_str(), images.tag.as_str()), ("example.com:5000/a", "1.31.0-debug"));
        assert_eq!(images.pilot, COMPLETE[0].1, "the digest stays");
        assert_eq!(images.ztunnel.as_deref(), Some("example.com:5000/a/ztunnel:1.31.0-debug"));
    }

    #[test]
    fn fips_mode_reads_its_own_variables() {
        let fips = [
            ("KYMA_FIPS_MODE_ENABLED", "true"),
            ("pilot-fips", "r/p:1.31.0-1"),
            ("install-cni-fips", "r/c:1.31.0-1"),
            ("proxyv2-fips", "r/x:1.31.0-1"),
            ("pilot", "ignored"),
        ];
        let images = read(&fips).unwrap();
        assert_eq!((images.tag.as_str(), images.ztunnel), ("1.31.0-1", None));
        let missing = read(&fips[..2]).unwrap_err();
        assert_eq!(
            missing,
            Error::Missing { variables: vec!["install-cni-fips".to_owned(), "proxyv2-fips".to_owned()] }
        );
        assert!(
            matches!(read(&fips[..1]), Err(Error::Missing { .. })),
            "there are no default images for FIPS"
        );
    }

    #[test]
    fn images_that_do_not_belong_together_are_refused() {
        for (environment, words) in [
            (with(&[("proxyv2", "")]), "without an image: proxyv2"),
            (with(&[("pilot", "pilot:1.31.0")]), "registry/name:tag"),
            (with(&[("pilot", "example.com/pilot")]), "registry/name:tag"),
            (with(&[("pilot", "example.com:5000/a/pilot@sha256:1.31.0")]), "registry/name:tag"),
            (with(&[("pilot", "example.com:5000/a/:1.31.0")]), "registry/name:tag"),
            (with(&[("install-cni", "example.com/cni:1.31.0-debug")]), "install-cni"),
            (with(&[("proxyv2", "example.com:5000/a/proxy:1.31.1-debug")]), "proxyv2"),
            (with(&[("ztunnel", "example.com:5000/a/ztunnel:1.31.0")]), "ztunnel"),
        ] {
            let error = read(&environment).unwrap_err().to_string();
            assert!(error.contains(words), "{error}");
        }
    }

    #[test]
    fn images_of_another_version_than_the_charts_are_refused() {
        for tag in ["1.30.2-distroless", "1.31.1", "latest"] {
            let images: Vec<_> =
                ["pilot", "install-cni", "proxyv2"].map(|name| (name, format!("r/{name}:{tag}"))).into();
            let environment: Vec<_> = images.iter().map(|(name, image)| (*name, image.as_str())).collect();
            let error = read(&environment).unwrap_err();
            assert!(matches!(error, Error::OtherVersion { .. }), "{error}");
        }
    }
}
