//! A container that injection added, as far as the mesh controls it. Pure.

use serde::Deserialize;

use super::amounts::Resources;
use super::objects::null_as_empty;
use super::part::Part;

/// A container.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Container {
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
    pub env: Vec<Variable>,
    /// Requests and limits.
    #[serde(deserialize_with = "null_as_empty")]
    pub resources: Resources,
    /// Mounts.
    #[serde(deserialize_with = "null_as_empty")]
    pub volume_mounts: Vec<Mount>,
    /// Rights.
    pub security_context: Option<Part>,
    /// Probe of its start.
    pub startup_probe: Option<Part>,
    /// Probe of its readiness.
    pub readiness_probe: Option<Part>,
    /// What it does when it starts and ends.
    pub lifecycle: Option<Part>,
}

/// A variable of a container.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Variable {
    /// Name.
    pub name: String,
    /// Its value, where that is given literally.
    pub value: Option<String>,
    /// Where its value comes from, else.
    pub value_from: Option<Part>,
}

/// A mount of a container.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Mount {
    /// Name of the volume.
    pub name: String,
    /// Path in the container.
    pub mount_path: String,
}

impl Container {
    /// Bytes that it holds, roughly.
    #[must_use]
    pub fn weight(&self) -> usize {
        let part = |part: &Option<Part>| part.as_ref().map_or(0, |part| part.text().len());
        let variables = self.env.iter().map(|it| {
            size_of::<Variable>()
                + it.name.len()
                + it.value.as_ref().map_or(0, String::len)
                + part(&it.value_from)
        });
        let mounts =
            self.volume_mounts.iter().map(|it| size_of::<Mount>() + it.name.len() + it.mount_path.len());
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
