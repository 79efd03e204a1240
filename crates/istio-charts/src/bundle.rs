//! A bundle: the charts, installation profiles and CustomResourceDefinitions of one version of Istio.
//!
//! Comes embedded in the binary or from a folder `<version>/{charts,profiles}`, the layout that Istio's own release has
//! below `manifests`. Reads; renders nothing.

use crate::embedded;
use gotemplate::yaml;
use helm_chart::{Chart, ChartError};
use serde_json::Value;
use std::io;
use std::path::{Path, PathBuf};

/// The CustomResourceDefinitions as text, in the files of the chart `base`.
const CRDS: &str = "files/crd-all.gen.yaml";
/// The charts that an installation needs, by their folder below `charts`.
const CHARTS: [&str; 7] = [
    "base",
    "default",
    "gateways/istio-egress",
    "gateways/istio-ingress",
    "istio-cni",
    "istio-control/istio-discovery",
    "ztunnel",
];

/// Why a text is not YAML, or YAML that JSON cannot hold.
type ParseError = Box<dyn std::error::Error + Send + Sync>;

/// Why a part of a bundle is not available.
#[derive(Debug, thiserror::Error)]
pub enum BundleError {
    /// The folder has no such version.
    #[error("no charts of Istio {version} in '{}': '{missing}' is missing; versions found: {present}", directory.display())]
    NoVersion {
        /// Wanted version.
        version: String,
        /// Folder with one subfolder per version.
        directory: PathBuf,
        /// First path, relative to the folder, that should be there.
        missing: String,
        /// Versions found, comma-separated, or "none".
        present: String,
    },
    /// A version other than the built-in one was asked for without a folder of charts.
    #[error(
        "Istio {version} is not built into this program, which has Istio {embedded}. Set --charts-dir to a directory with its charts"
    )]
    NotBuiltIn {
        /// Wanted version.
        version: String,
        /// Version built in.
        embedded: &'static str,
    },
    /// Istio has no installation profile of that name.
    #[error("Istio {version} has no installation profile '{name}'")]
    NoProfile {
        /// Version of the bundle.
        version: String,
        /// Wanted profile.
        name: String,
    },
    /// The bundle has no chart in that folder.
    #[error("Istio {version} has no chart '{name}'")]
    NoChart {
        /// Version of the bundle.
        version: String,
        /// Folder of the chart below `charts`.
        name: String,
    },
    /// A file could not be read.
    #[error("cannot read '{}'", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Cause.
        source: io::Error,
    },
    /// The embedded data could not be unpacked: the binary is damaged.
    #[error("cannot unpack {what} embedded in this program")]
    Unpack {
        /// The damaged part.
        what: String,
        /// Cause.
        source: io::Error,
    },
    /// A profile or CustomResourceDefinition is neither YAML nor JSON.
    #[error("cannot parse {what} of Istio {version}")]
    Parse {
        /// The part.
        what: String,
        /// Version of the bundle.
        version: String,
        /// Cause.
        source: ParseError,
    },
    /// A chart cannot be loaded.
    #[error("cannot load chart '{name}' of Istio {version}")]
    Chart {
        /// Folder of the chart below `charts`.
        name: String,
        /// Version of the bundle.
        version: String,
        /// Cause.
        source: ChartError,
    },
}

/// The charts, profiles and definitions of one version of Istio.
#[derive(Debug, Clone)]
pub struct Bundle {
    version: String,
    source: Source,
}

#[derive(Debug, Clone)]
enum Source {
    Embedded,
    /// Folder that holds `charts` and `profiles`.
    Directory(PathBuf),
}

impl Bundle {
    /// The version built into this program.
    #[must_use]
    pub fn embedded() -> Self {
        Self { version: embedded::VERSION.to_owned(), source: Source::Embedded }
    }

    /// A version from a folder with one subfolder per version.
    pub fn open(charts_dir: &Path, version: &str) -> Result<Self, BundleError> {
        let root = charts_dir.join(version);
        let needed = CHARTS
            .iter()
            .map(|chart| format!("charts/{chart}/Chart.yaml"))
            .chain(["profiles/default.yaml".to_owned()]);
        // A separator or a parent folder in a version would lead out of the folder.
        let is_name =
            Path::new(version).components().count() == 1 && !version.contains(['/', '\\']) && version != "..";
        if let Some(missing) = needed.into_iter().find(|file| !is_name || !root.join(file).is_file()) {
            return Err(BundleError::NoVersion {
                version: version.to_owned(),
                directory: charts_dir.to_owned(),
                missing: format!("{version}/{missing}"),
                present: versions_in(charts_dir),
            });
        }
        Ok(Self { version: version.to_owned(), source: Source::Directory(root) })
    }

    /// The bundle of the wanted version: the one in `charts_dir` if there is such a folder, else the one built in.
    ///
    /// Without a version, the built-in one.
    pub fn select(charts_dir: Option<&Path>, version: Option<&str>) -> Result<Self, BundleError> {
        match (charts_dir, version) {
            (Some(directory), Some(version))
                if version != embedded::VERSION || directory.join(version).is_dir() =>
            {
                Self::open(directory, version)
            }
            (None, Some(version)) if version != embedded::VERSION => {
                Err(BundleError::NotBuiltIn { version: version.to_owned(), embedded: embedded::VERSION })
            }
            _ => Ok(Self::embedded()),
        }
    }

    /// The version of Istio, such as `1.31.0`.
    #[must_use]
    pub fn version(&self) -> &str {
        &self.version
    }

    /// An installation profile, an `IstioOperator` document.
    pub fn profile(&self, name: &str) -> Result<Value, BundleError> {
        let no_profile = || BundleError::NoProfile { version: self.version.clone(), name: name.to_owned() };
        if name.contains(['/', '\\']) {
            return Err(no_profile());
        }
        let text = match &self.source {
            Source::Embedded => embedded::profile(name)?.ok_or_else(no_profile)?,
            Source::Directory(root) => {
                let path = root.join("profiles").join(format!("{name}.yaml"));
                if !path.is_file() {
                    return Err(no_profile());
                }
                read(&path)?
            }
        };
        parse(&text).map_err(|source| self.unparsable(format!("profile '{name}'"), source))
    }

    /// A profile of values in the chart of istiod, such as `compatibility-version-1.30`: the charts take it by the value
    /// `compatibilityVersion` or `profile`.
    pub fn values_profile(&self, name: &str) -> Result<Value, BundleError> {
        const CHART: &str = "istio-control/istio-discovery";
        let no_profile = || BundleError::NoProfile { version: self.version.clone(), name: name.to_owned() };
        if name.contains(['/', '\\']) {
            return Err(no_profile());
        }
        let file = format!("files/profile-{name}.yaml");
        let text = match &self.source {
            Source::Embedded => {
                let bytes = embedded::chart(CHART)?.and_then(|mut files| files.remove(&file));
                String::from_utf8_lossy(&bytes.ok_or_else(no_profile)?).into_owned()
            }
            Source::Directory(root) => {
                let path = root.join("charts").join(CHART).join(&file);
                if !path.is_file() {
                    return Err(no_profile());
                }
                read(&path)?
            }
        };
        parse(&text).map_err(|source| self.unparsable(format!("profile '{name}'"), source))
    }

    /// A chart by its folder below `charts`. The definitions of the chart `base` are left out: they are an eighth of all
    /// data, and [`Bundle::crds`] provides them one by one.
    pub fn chart(&self, name: &str) -> Result<Chart, BundleError> {
        let (version, name) = (self.version.clone(), name.to_owned());
        let chart = match &self.source {
            Source::Embedded => match embedded::chart(&name)? {
                Some(files) => Chart::from_files(files),
                None => return Err(BundleError::NoChart { version, name }),
            },
            Source::Directory(root) => Chart::load_without(&root.join("charts").join(&name), &[CRDS]),
        };
        chart.map_err(|source| BundleError::Chart { name, version, source })
    }

    /// The CustomResourceDefinitions, one at a time: together they are some megabytes in memory.
    #[must_use]
    pub fn crds(&self) -> Crds<'_> {
        let rest = match &self.source {
            Source::Embedded => Rest::Embedded(embedded::CRDS.iter()),
            Source::Directory(root) => match read(&root.join("charts/base").join(CRDS)) {
                Ok(text) => Rest::Text { text, at: 0 },
                Err(error) => Rest::Failed(Some(error)),
            },
        };
        Crds { bundle: self, rest }
    }

    fn unparsable(&self, what: String, source: ParseError) -> BundleError {
        BundleError::Parse { what, version: self.version.clone(), source }
    }
}

/// Iterator over the CustomResourceDefinitions of a bundle; see [`Bundle::crds`].
#[derive(Debug)]
pub struct Crds<'a> {
    bundle: &'a Bundle,
    rest: Rest,
}

#[derive(Debug)]
enum Rest {
    Embedded(std::slice::Iter<'static, &'static [u8]>),
    Text { text: String, at: usize },
    Failed(Option<BundleError>),
}

impl Iterator for Crds<'_> {
    type Item = Result<Value, BundleError>;

    fn next(&mut self) -> Option<Self::Item> {
        match &mut self.rest {
            Rest::Embedded(packed) => Some(embedded::definition(packed.next()?)),
            Rest::Failed(error) => error.take().map(Err),
            Rest::Text { text, at } => loop {
                let document = next_document(text, at)?;
                let parsed = parse(document);
                match parsed {
                    Ok(Value::Null) => {}
                    Ok(definition) => return Some(Ok(definition)),
                    Err(source) => {
                        return Some(Err(self
                            .bundle
                            .unparsable("the CustomResourceDefinitions".to_owned(), source)));
                    }
                }
            },
        }
    }
}

/// The document that starts at `at`, which moves behind it.
fn next_document<'t>(text: &'t str, at: &mut usize) -> Option<&'t str> {
    const SEPARATOR: &str = "\n---";
    let rest = text.get(*at..).filter(|rest| !rest.is_empty())?;
    let length = rest.find(SEPARATOR).unwrap_or(rest.len());
    *at += (length + SEPARATOR.len()).min(rest.len());
    Some(&rest[..length])
}

/// Parses the first document of a text; an empty text is null.
fn parse(text: &str) -> Result<Value, ParseError> {
    Ok(yaml::parse(text)?.to_json()?)
}

fn read(path: &Path) -> Result<String, BundleError> {
    std::fs::read_to_string(path).map_err(|source| BundleError::Read { path: path.to_owned(), source })
}

fn versions_in(directory: &Path) -> String {
    let mut names: Vec<String> = std::fs::read_dir(directory)
        .into_iter()
        .flatten()
        .filter_map(|entry| entry.ok().filter(|entry| entry.path().join("charts").is_dir()))
        .filter_map(|entry| entry.file_name().into_string().ok())
        .collect();
    names.sort();
    if names.is_empty() { "none".to_owned() } else { names.join(", ") }
}
