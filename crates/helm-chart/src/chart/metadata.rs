//! Chart.yaml.

use gotemplate::semver::Version;
use serde_json::{Map, Value, json};

/// The contents of Chart.yaml.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Metadata {
    /// Name of the chart.
    pub name: String,
    /// Version of the chart.
    pub version: String,
    /// `v1` or `v2`.
    pub api_version: String,
    /// Version of the application that the chart installs.
    pub app_version: String,
    /// One sentence.
    pub description: String,
    /// Project page.
    pub home: String,
    /// Address of an icon.
    pub icon: String,
    /// `application`, which empty means, or `library`.
    pub kind: String,
    /// Constraint on the version of Kubernetes.
    pub kube_version: String,
    /// Unused by Helm.
    pub condition: String,
    /// Unused by Helm.
    pub tags: String,
    /// Whether the chart is deprecated.
    pub deprecated: bool,
    /// Keywords.
    pub keywords: Vec<String>,
    /// Addresses of its sources.
    pub sources: Vec<String>,
    /// Its maintainers.
    pub maintainers: Vec<Maintainer>,
    /// Annotations; `None` when Chart.yaml does not mention any.
    pub annotations: Option<Vec<(String, String)>>,
    /// Charts that it depends on; `None` when Chart.yaml does not mention any.
    pub dependencies: Option<Vec<Dependency>>,
}

/// A maintainer of a chart.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Maintainer {
    /// Name of a person or organization.
    pub name: String,
    /// Address.
    pub email: String,
    /// Page.
    pub url: String,
}

/// A dependency of a chart.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Dependency {
    /// Name of the chart.
    pub name: String,
    /// Constraint on its version.
    pub version: String,
    /// Where it comes from.
    pub repository: String,
    /// Paths of values, separated by commas, of which the first that is a boolean switches it.
    pub condition: String,
    /// Tags that switch it.
    pub tags: Vec<String>,
    /// Whether it is rendered.
    pub enabled: bool,
    /// Values that it hands to the chart that needs it.
    pub import_values: Vec<Value>,
    /// Name under which the chart has it.
    pub alias: String,
}

type Read<T> = Result<T, String>;

impl Metadata {
    /// Reads and checks the document.
    pub(super) fn read(document: &Value) -> Read<Self> {
        let fields = Fields::of(document, "the document")?;
        let mut metadata = Self {
            name: fields.clean_text("name")?,
            version: fields.text("version")?,
            api_version: fields.text("apiVersion")?,
            app_version: fields.clean_text("appVersion")?,
            description: fields.clean_text("description")?,
            home: fields.clean_text("home")?,
            icon: fields.clean_text("icon")?,
            kind: fields.text("type")?,
            kube_version: fields.clean_text("kubeVersion")?,
            condition: fields.clean_text("condition")?,
            tags: fields.clean_text("tags")?,
            deprecated: fields.flag("deprecated")?,
            keywords: fields.clean_texts("keywords")?,
            sources: fields.clean_texts("sources")?,
            maintainers: fields.list("maintainers")?.iter().map(Maintainer::read).collect::<Read<_>>()?,
            annotations: fields.annotations()?,
            dependencies: match fields.get("dependencies") {
                None | Some(Value::Null) => None,
                Some(_) => {
                    Some(fields.list("dependencies")?.iter().map(Dependency::read).collect::<Read<_>>()?)
                }
            },
        };
        if metadata.api_version.is_empty() {
            "v1".clone_into(&mut metadata.api_version);
        }
        metadata.check()?;
        Ok(metadata)
    }

    fn check(&self) -> Read<()> {
        if self.name.is_empty() {
            return Err("the name is missing".to_owned());
        }
        if matches!(self.name.as_str(), "." | "..") || self.name.contains('/') {
            return Err(format!("the name '{}' is a path", self.name));
        }
        if self.version.is_empty() {
            return Err("the version is missing".to_owned());
        }
        if Version::parse(&self.version).is_none() {
            return Err(format!("the version '{}' is not a semantic version", self.version));
        }
        if !matches!(self.kind.as_str(), "" | "application" | "library") {
            return Err("the type must be application or library".to_owned());
        }
        let mut names: Vec<&str> = Vec::new();
        for dependency in self.dependencies.iter().flatten() {
            let name = if dependency.alias.is_empty() { &dependency.name } else { &dependency.alias };
            if names.contains(&name.as_str()) {
                return Err(format!("more than one dependency with name or alias '{name}'"));
            }
            names.push(name);
        }
        Ok(())
    }

    /// Whether the chart only defines templates for others.
    #[must_use]
    pub fn is_library(&self) -> bool {
        self.kind.eq_ignore_ascii_case("library")
    }

    /// What templates see as `.Chart`, with the names of Go's fields; the annotations are left out, they are of another type.
    pub(crate) fn template_fields(&self, is_root: bool) -> Value {
        let maintainers: Vec<Value> = self
            .maintainers
            .iter()
            .map(|one| json!({"Name": one.name, "Email": one.email, "URL": one.url}))
            .collect();
        let dependencies: Vec<Value> =
            self.dependencies.iter().flatten().map(Dependency::template_fields).collect();
        json!({
            "Name": self.name, "Home": self.home, "Sources": self.sources, "Version": self.version,
            "Description": self.description, "Keywords": self.keywords, "Maintainers": maintainers,
            "Icon": self.icon, "APIVersion": self.api_version, "Condition": self.condition, "Tags": self.tags,
            "AppVersion": self.app_version, "Deprecated": self.deprecated,
            "KubeVersion": self.kube_version, "Dependencies": dependencies, "Type": self.kind, "IsRoot": is_root,
        })
    }
}

impl Maintainer {
    fn read(value: &Value) -> Read<Self> {
        let fields = Fields::of(value, "a maintainer")?;
        Ok(Self {
            name: fields.clean_text("name")?,
            email: fields.clean_text("email")?,
            url: fields.clean_text("url")?,
        })
    }
}

impl Dependency {
    fn read(value: &Value) -> Read<Self> {
        let fields = Fields::of(value, "a dependency")?;
        let alias = fields.text("alias")?;
        if !alias.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '-')) {
            return Err(format!("the alias '{alias}' has disallowed characters"));
        }
        Ok(Self {
            name: fields.clean_text("name")?,
            version: fields.clean_text("version")?,
            repository: fields.clean_text("repository")?,
            condition: fields.clean_text("condition")?,
            tags: fields.clean_texts("tags")?,
            enabled: fields.flag("enabled")?,
            import_values: fields.list("import-values")?.to_vec(),
            alias,
        })
    }

    fn template_fields(&self) -> Value {
        json!({
            "Name": self.name, "Version": self.version, "Repository": self.repository, "Condition": self.condition,
            "Tags": self.tags, "Enabled": self.enabled, "ImportValues": self.import_values, "Alias": self.alias,
        })
    }
}

/// Checks the types in Chart.lock.
pub(super) fn check_lock(lock: &Value) -> Read<()> {
    if lock.is_null() {
        return Ok(());
    }
    let fields = Fields::of(lock, "it")?;
    fields.text("generated")?;
    fields.text("digest")?;
    fields.list("dependencies")?.iter().try_for_each(|dependency| Dependency::read(dependency).map(drop))
}

/// Reads a document over an earlier one, as Go decodes into what it has decoded before: what the later one leaves out
/// stays, and lists are read element over element.
pub(super) fn read_over(before: &mut Value, later: Value) {
    match (before, later) {
        (Value::Object(before), Value::Object(later)) => {
            for (key, value) in later {
                let known =
                    before.keys().find(|known| known.eq_ignore_ascii_case(&key)).cloned().unwrap_or(key);
                let before = before.entry(known.as_str()).or_insert(Value::Null);
                // Of any type, and so replaced.
                if known == "import-values" {
                    *before = value;
                } else {
                    read_over(before, value);
                }
            }
        }
        (Value::Array(before), Value::Array(later)) => {
            before.resize(later.len(), Value::Null);
            before.iter_mut().zip(later).for_each(|(before, later)| read_over(before, later));
        }
        // Null leaves a text, a number or a flag as it was.
        (Value::String(_) | Value::Number(_) | Value::Bool(_), Value::Null) => {}
        (before, later) => *before = later,
    }
}

/// The fields of a map, read as Go reads them into a struct.
struct Fields<'v>(&'v Map<String, Value>);

impl<'v> Fields<'v> {
    fn of(value: &'v Value, what: &str) -> Read<Self> {
        value.as_object().map(Self).ok_or_else(|| format!("{what} is not a map"))
    }

    /// A field by its name, in any case.
    fn get(&self, name: &str) -> Option<&'v Value> {
        self.0
            .get(name)
            .or_else(|| self.0.iter().find(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value))
    }

    /// A text; numbers and booleans become texts.
    fn text(&self, name: &str) -> Read<String> {
        match self.get(name) {
            None => Ok(String::new()),
            Some(value) => as_text(value).ok_or_else(|| format!("'{name}' is not a string")),
        }
    }

    fn clean_text(&self, name: &str) -> Read<String> {
        Ok(clean(&self.text(name)?))
    }

    fn flag(&self, name: &str) -> Read<bool> {
        match self.get(name) {
            None | Some(Value::Null) => Ok(false),
            Some(Value::Bool(flag)) => Ok(*flag),
            Some(_) => Err(format!("'{name}' is neither true nor false")),
        }
    }

    fn list(&self, name: &str) -> Read<&'v [Value]> {
        match self.get(name) {
            None | Some(Value::Null) => Ok(&[]),
            Some(Value::Array(values)) => Ok(values),
            Some(_) => Err(format!("'{name}' is not a list")),
        }
    }

    fn clean_texts(&self, name: &str) -> Read<Vec<String>> {
        let texts = self.list(name)?.iter().map(|value| as_text(value).map(|text| clean(&text)));
        texts.collect::<Option<_>>().ok_or_else(|| format!("'{name}' is not a list of strings"))
    }

    fn annotations(&self) -> Read<Option<Vec<(String, String)>>> {
        match self.get("annotations") {
            None | Some(Value::Null) => Ok(None),
            Some(Value::Object(entries)) => {
                let texts = entries.iter().map(|(key, value)| Some((key.clone(), as_text(value)?)));
                let texts: Option<Vec<_>> = texts.collect();
                texts.map(Some).ok_or_else(|| "an annotation is not a string".to_owned())
            }
            Some(_) => Err("'annotations' is not a map".to_owned()),
        }
    }
}

/// A scalar as text. Go prints numbers that become texts with the precision of 32 bits.
pub(crate) fn as_text(value: &Value) -> Option<String> {
    match value {
        Value::Null => Some(String::new()),
        Value::String(text) => Some(text.clone()),
        Value::Bool(flag) => Some(flag.to_string()),
        Value::Number(number) if number.is_f64() => {
            #[allow(clippy::cast_possible_truncation)]
            let single = number.as_f64()? as f32;
            Some(gotemplate::Value::Float(single.to_string().parse().ok()?).to_string())
        }
        Value::Number(number) => Some(number.to_string()),
        Value::Array(_) | Value::Object(_) => None,
    }
}

/// White space becomes blanks, and what cannot be printed goes.
fn clean(text: &str) -> String {
    let shown = text.chars().map(|c| if c.is_whitespace() { ' ' } else { c });
    shown.filter(|c| !c.is_control()).collect()
}
