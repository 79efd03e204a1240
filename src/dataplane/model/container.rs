//! A container that injection added, with the fields that the mesh controls. Pure.

use serde::Deserialize;

use super::objects::null_as_empty;
use super::raw_json::RawJson;
use super::resources::ResourceRequirements;

/// A container.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct InjectedContainer {
    /// Name.
    pub name: String,
    /// Image.
    pub image: String,
    /// Image pull policy; empty if it is not set.
    pub image_pull_policy: String,
    /// `Always` for a native sidecar.
    pub restart_policy: String,
    /// Arguments.
    #[serde(deserialize_with = "null_as_empty")]
    pub args: Vec<String>,
    /// Environment variables.
    #[serde(deserialize_with = "null_as_empty")]
    pub env: Vec<EnvVar>,
    /// Requests and limits.
    #[serde(deserialize_with = "null_as_empty")]
    pub resources: ResourceRequirements,
    /// Volume mounts.
    #[serde(deserialize_with = "null_as_empty")]
    pub volume_mounts: Vec<VolumeMount>,
    /// Security context.
    pub security_context: Option<RawJson>,
    /// Startup probe.
    pub startup_probe: Option<RawJson>,
    /// Readiness probe.
    pub readiness_probe: Option<RawJson>,
    /// Lifecycle hooks.
    pub lifecycle: Option<RawJson>,
}

/// An environment variable of a container.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct EnvVar {
    /// Name.
    pub name: String,
    /// Its literal value.
    pub value: Option<String>,
    /// The source of its value, if it is not literal.
    pub value_from: Option<RawJson>,
}

/// A volume mount of a container.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct VolumeMount {
    /// Name of the volume.
    pub name: String,
    /// Path in the container.
    pub mount_path: String,
}

impl InjectedContainer {
    /// Approximate bytes that it holds.
    #[must_use]
    pub fn memory_bytes(&self) -> usize {
        let part = |part: &Option<RawJson>| part.as_ref().map_or(0, |part| part.text().len());
        let variables = self.env.iter().map(|it| {
            size_of::<EnvVar>()
                + it.name.len()
                + it.value.as_ref().map_or(0, String::len)
                + part(&it.value_from)
        });
        let mounts = self
            .volume_mounts
            .iter()
            .map(|it| size_of::<VolumeMount>() + it.name.len() + it.mount_path.len());
        let args = self.args.iter().map(|it| size_of::<String>() + it.len());
        let parts = [&self.security_context, &self.startup_probe, &self.readiness_probe, &self.lifecycle];
        size_of::<Self>()
            + self.image.len()
            + variables.chain(mounts).chain(args).chain(parts.map(part)).sum::<usize>()
    }

    /// The literal value of a variable.
    #[must_use]
    pub fn variable(&self, name: &str) -> Option<&str> {
        self.env.iter().find(|variable| variable.name == name)?.value.as_deref()
    }
}
