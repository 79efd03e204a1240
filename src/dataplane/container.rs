//! A container that injection added, as far as the mesh controls it. Pure.

use serde::Deserialize;

use super::raw_json::RawJson;
use super::resources::ResourceRequirements;
use super::types::null_as_empty;

/// A container.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct InjectedContainer {
    /// Name.
    pub name: String,
    /// Image.
    pub image: String,
    /// When the image is pulled; empty where that is left open.
    pub image_pull_policy: String,
    /// `Always` in an init container that is a native sidecar.
    pub restart_policy: String,
    /// Arguments.
    #[serde(deserialize_with = "null_as_empty")]
    pub args: Vec<String>,
    /// Variables.
    #[serde(deserialize_with = "null_as_empty")]
    pub env: Vec<EnvVar>,
    /// Requests and limits.
    #[serde(deserialize_with = "null_as_empty")]
    pub resources: ResourceRequirements,
    /// Mounts.
    #[serde(deserialize_with = "null_as_empty")]
    pub volume_mounts: Vec<VolumeMount>,
    /// Rights.
    pub security_context: Option<RawJson>,
    /// Probe of its start.
    pub startup_probe: Option<RawJson>,
    /// Probe of its readiness.
    pub readiness_probe: Option<RawJson>,
    /// What it does when it starts and ends.
    pub lifecycle: Option<RawJson>,
}

/// A variable of a container.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct EnvVar {
    /// Name.
    pub name: String,
    /// Its value, where that is given literally.
    pub value: Option<String>,
    /// Where its value comes from, else.
    pub value_from: Option<RawJson>,
}

/// A mount of a container.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct VolumeMount {
    /// Name of the volume.
    pub name: String,
    /// Path in the container.
    pub mount_path: String,
}

impl InjectedContainer {
    /// Bytes that it holds, roughly.
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

    /// The value of a variable, where it is given literally.
    #[must_use]
    pub fn variable(&self, name: &str) -> Option<&str> {
        self.env.iter().find(|variable| variable.name == name)?.value.as_deref()
    }
}
