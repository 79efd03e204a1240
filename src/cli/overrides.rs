//! The flags for values and patches, which `run` shares with the commands that predict what it does.

use std::path::PathBuf;
use std::{fs, io};

use clap::Args;
use istio_charts::Bundle;
use tracing::{info, warn};

use super::flags::parse_bool;
use crate::plan::configuration::Images;
use crate::plan::{AdministratorValues, AdministratorValuesError, OverrideMode, OverrideRules};

/// Why the file of `--values-file` cannot be used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ValuesFileError {
    /// The file cannot be read.
    #[error("failed to read {} (--values-file)", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Cause.
        source: io::Error,
    },
    /// The content is not a map of values.
    #[error("invalid values in {} (--values-file)", path.display())]
    Content {
        /// The file.
        path: PathBuf,
        /// Cause.
        source: AdministratorValuesError,
    },
}

/// What the administrator allows with values and patches.
#[derive(Args, Debug)]
pub(crate) struct OverrideArguments {
    /// How far authors of Istio resources are trusted with spec.values and spec.patches
    #[arg(long, value_enum, default_value = "restricted", value_name = "MODE", help_heading = "Istio")]
    pub overrides: OverrideMode,

    /// Apply spec.patches of the Istio resource. With --overrides=unrestricted, the authors of the resource can then do
    /// everything that a cluster admin can do
    #[arg(long, num_args = 0..=1, require_equals = true, default_value = "false", default_missing_value = "true",
          value_parser = parse_bool, action = clap::ArgAction::Set, value_name = "BOOL", help_heading = "Istio")]
    pub allow_patches: bool,

    /// File with values of the Istio charts that every Istio resource is applied on top of, without restrictions. Intended
    /// for settings that the operator cannot detect, such as the platform or CNI directories
    #[arg(long, value_name = "FILE", help_heading = "Istio")]
    pub values_file: Option<PathBuf>,
}

impl OverrideArguments {
    /// Logs how far authors are trusted, and which file of values is used.
    pub fn log_overrides(&self) {
        let file = self.values_file.as_deref().map(|path| path.display().to_string());
        let (values_file, allow_patches) = (file.unwrap_or_default(), self.allow_patches);
        match self.overrides {
            OverrideMode::Restricted => info!(values_file, allow_patches, "overrides restricted"),
            OverrideMode::Unrestricted => warn!(
                values_file,
                allow_patches,
                "overrides unrestricted: authors of Istio resources are as powerful as a cluster admin"
            ),
        }
    }

    /// The values of `--values-file`; empty without the flag.
    ///
    /// # Errors
    /// If the file cannot be read or does not contain a map.
    pub fn administrator_values(&self) -> Result<AdministratorValues, ValuesFileError> {
        let Some(path) = &self.values_file else { return Ok(AdministratorValues::default()) };
        let text = fs::read_to_string(path)
            .map_err(|source| ValuesFileError::Read { path: path.clone(), source })?;
        AdministratorValues::parse(&text)
            .map_err(|source| ValuesFileError::Content { path: path.clone(), source })
    }

    /// What these flags allow, with the charts and images of one version.
    pub fn rules<'a>(
        &self,
        bundle: &'a Bundle,
        images: &'a Images,
        administrator_values: &'a AdministratorValues,
    ) -> OverrideRules<'a> {
        OverrideRules {
            bundle,
            images,
            allow_patches: self.allow_patches,
            override_mode: self.overrides,
            administrator_values,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use clap::Parser;
    use helm_chart::Chart;
    use serde_json::{Value, json};

    use super::*;

    #[derive(Parser)]
    struct Flags {
        #[command(flatten)]
        overrides: OverrideArguments,
    }

    fn parse(flags: &[&str]) -> Result<OverrideArguments, clap::Error> {
        Flags::try_parse_from([&["test"], flags].concat()).map(|flags| flags.overrides)
    }

    #[test]
    fn authors_are_restricted_by_default() {
        for (flags, expected) in [
            (&[][..], Some((OverrideMode::Restricted, false))),
            (&["--overrides=restricted"], Some((OverrideMode::Restricted, false))),
            (&["--overrides=unrestricted"], Some((OverrideMode::Unrestricted, false))),
            (&["--allow-patches"], Some((OverrideMode::Restricted, true))),
            (&["--overrides=open"], None),
        ] {
            let parsed = parse(flags).ok().map(|flags| (flags.overrides, flags.allow_patches));
            assert_eq!(parsed, expected, "{flags:?}");
        }
    }

    #[test]
    fn a_values_file_that_cannot_be_used_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("values.yaml");
        let path = file.display().to_string();
        let arguments = parse(&["--values-file", &path]).unwrap();
        assert!(arguments.administrator_values().unwrap_err().to_string().contains(&path));
        fs::write(&file, "- a list").unwrap();
        assert!(arguments.administrator_values().unwrap_err().to_string().contains(&path));
        fs::write(&file, "cni: {cniBinDir: /x}").unwrap();
        let values = arguments.administrator_values().unwrap();
        assert_eq!(json!(values.as_map()), json!({"cni": {"cniBinDir": "/x"}}));
    }

    fn rendered(values: &Value) -> Vec<Value> {
        let chart = Path::new(env!("CARGO_MANIFEST_DIR")).join("charts/istio-manager");
        let options = helm_chart::Options::install("istio-manager", "kyma-system");
        helm_chart::render(&Chart::load(&chart).unwrap(), values, &options).unwrap().objects().unwrap()
    }

    fn one<'o>(objects: &'o [Value], kind: &str, name: &str) -> Option<&'o Value> {
        objects.iter().find(|object| object["kind"] == kind && object["metadata"]["name"] == name)
    }

    #[test]
    fn the_chart_mounts_administrator_values_and_sets_flags() {
        let operator =
            |objects: &[Value]| one(objects, "Deployment", "istio-controller-manager").unwrap().clone();
        let template =
            |object: &Value, pointer: &str| object.pointer(&format!("/spec/template{pointer}")).cloned();
        let arguments = |object: &Value| template(object, "/spec/containers/0/args").unwrap().to_string();

        let plain = rendered(&json!({}));
        assert!(one(&plain, "ConfigMap", "istio-manager-values").is_none());
        assert!(arguments(&operator(&plain)).contains("--overrides=restricted"));
        for flag in ["--values-file", "--allow-patches"] {
            assert!(!arguments(&operator(&plain)).contains(flag), "{flag}");
        }

        let values = json!({"global": {"platform": "openshift"}, "pilot": {"env": {"A": "true"}}});
        let settings = json!({"overrides": "unrestricted", "allowPatches": true, "values": values});
        let set = rendered(&json!({"istio": settings}));
        let text = &one(&set, "ConfigMap", "istio-manager-values").unwrap()["data"]["values.yaml"];
        let read = AdministratorValues::parse(text.as_str().unwrap()).unwrap();
        assert_eq!(json!(read.as_map()), values);
        for flag in
            ["--overrides=unrestricted", "--values-file=/etc/istio-manager/values.yaml", "--allow-patches"]
        {
            assert!(arguments(&operator(&set)).contains(flag), "{flag}");
        }
        let mounts = template(&operator(&set), "/spec/containers/0/volumeMounts").unwrap();
        assert_eq!(
            mounts,
            json!([{"name": "istio-values", "mountPath": "/etc/istio-manager", "readOnly": true}])
        );

        let checksum =
            |objects: &[Value]| template(&operator(objects), "/metadata/annotations/checksum~1istio-values");
        let other = rendered(&json!({"istio": {"values": {"global": {"platform": "gke"}}}}));
        assert!(checksum(&plain).is_none() && checksum(&set) != checksum(&other), "{:?}", checksum(&set));
    }
}
