//! Overlays of an `IstioOperator`: single values written into rendered objects at a path.
//!
//! Pure. Supports the paths that Istio documents for `components.*.k8s.overlays`: `a.b`, `a\.b`, `list[2]`, `list.[2]` and
//! `list.[key:value]`. A path that does not fit the object is an error; Istio's own installer drops such a patch in silence.

use serde_json::{Map, Value};

/// Why a value could not be written at a path.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum PathError {
    /// The path names nothing.
    #[error("the path is empty")]
    Empty,
    /// A bracket that is neither an index nor `key:value`.
    #[error("'{0}' is neither an index nor a 'key:value' selector")]
    Selector(String),
    /// No list element has that value under that key.
    #[error("no element '[{key}:{value}]' in the list at '{parent}'")]
    NoElement {
        /// Key of the selector.
        key: String,
        /// Wanted value, as text.
        value: String,
        /// Path of the list.
        parent: String,
    },
    /// The path continues below a value that is neither a map nor a list.
    #[error("'{parent}' is {found}, so '{segment}' cannot be below it")]
    Mismatch {
        /// Path of the value that cannot be entered.
        parent: String,
        /// What that value is.
        found: &'static str,
        /// The segment that asked for more.
        segment: String,
    },
}

/// One step of a path.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Segment {
    Field(String),
    Index(usize),
    /// Index -1 or one past the end: a new element.
    Append,
    Element {
        key: String,
        value: String,
    },
}

/// Writes `value` at `path`, making missing maps on the way. A null deletes what the path names; deleting a missing
/// value is not an error.
pub fn set(object: &mut Value, path: &str, value: &Value) -> Result<(), PathError> {
    let segments = parse(path)?;
    let (last, parents) = segments.split_last().ok_or(PathError::Empty)?;
    let mut node = object;
    let mut walked = String::new();
    for (at, segment) in parents.iter().enumerate() {
        let next_is_list = !matches!(segments[at + 1], Segment::Field(_));
        node = enter(node, segment, next_is_list, &walked)?;
        if !walked.is_empty() {
            walked.push('.');
        }
        walked.push_str(&segment.to_string());
    }
    if value.is_null() { delete(node, last, &walked) } else { replace(node, last, value.clone(), &walked) }
}

fn enter<'a>(
    node: &'a mut Value,
    segment: &Segment,
    next_is_list: bool,
    parent: &str,
) -> Result<&'a mut Value, PathError> {
    let fresh = || if next_is_list { Value::Array(Vec::new()) } else { Value::Object(Map::new()) };
    let entered = match segment {
        Segment::Field(name) => map_at(node, segment, parent)?.entry(name.clone()).or_insert_with(fresh),
        Segment::Append => {
            let list = list_at(node, segment, parent)?;
            let end = list.len();
            list.push(fresh());
            &mut list[end]
        }
        Segment::Index(_) | Segment::Element { .. } => {
            let list = list_at(node, segment, parent)?;
            let at = position(list, segment, parent)?;
            if at == list.len() {
                list.push(fresh());
            }
            &mut list[at]
        }
    };
    if entered.is_null() {
        *entered = fresh();
    }
    Ok(entered)
}

fn replace(node: &mut Value, segment: &Segment, value: Value, parent: &str) -> Result<(), PathError> {
    if let Segment::Field(name) = segment {
        map_at(node, segment, parent)?.insert(name.clone(), value);
        return Ok(());
    }
    let list = list_at(node, segment, parent)?;
    let at = position(list, segment, parent)?;
    if at == list.len() {
        list.push(value);
    } else {
        list[at] = value;
    }
    Ok(())
}

fn delete(node: &mut Value, segment: &Segment, parent: &str) -> Result<(), PathError> {
    if let Segment::Field(name) = segment {
        map_at(node, segment, parent)?.shift_remove(name);
        return Ok(());
    }
    let list = list_at(node, segment, parent)?;
    let at = position(list, segment, parent)?;
    if at < list.len() {
        list.remove(at);
    }
    Ok(())
}

/// Index that a list segment names; the length of the list stands for a new element.
fn position(list: &[Value], segment: &Segment, parent: &str) -> Result<usize, PathError> {
    match segment {
        Segment::Index(index) => Ok((*index).min(list.len())),
        Segment::Element { key, value } => list
            .iter()
            .position(|element| element.get(key).is_some_and(|found| text(found) == *value))
            .ok_or_else(|| PathError::NoElement {
                key: key.clone(),
                value: value.clone(),
                parent: parent.to_owned(),
            }),
        Segment::Field(_) | Segment::Append => Ok(list.len()),
    }
}

fn map_at<'a>(
    node: &'a mut Value,
    segment: &Segment,
    parent: &str,
) -> Result<&'a mut Map<String, Value>, PathError> {
    match node {
        Value::Object(map) => Ok(map),
        other => Err(mismatch(other, segment, parent)),
    }
}

fn list_at<'a>(
    node: &'a mut Value,
    segment: &Segment,
    parent: &str,
) -> Result<&'a mut Vec<Value>, PathError> {
    match node {
        Value::Array(list) => Ok(list),
        other => Err(mismatch(other, segment, parent)),
    }
}

fn mismatch(found: &Value, segment: &Segment, parent: &str) -> PathError {
    let found = match found {
        Value::Object(_) => "a map",
        Value::Array(_) => "a list",
        _ => "a single value",
    };
    PathError::Mismatch { parent: parent.to_owned(), found, segment: segment.to_string() }
}

fn text(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

fn parse(path: &str) -> Result<Vec<Segment>, PathError> {
    let mut segments = Vec::new();
    for part in split_unescaped(path) {
        let (name, bracket) = match part.find('[') {
            Some(at) => part.split_at(at),
            None => (part.as_str(), ""),
        };
        if !name.is_empty() {
            segments.push(Segment::Field(name.to_owned()));
        }
        if !bracket.is_empty() {
            segments.push(selector(bracket)?);
        }
    }
    Ok(segments)
}

fn selector(bracket: &str) -> Result<Segment, PathError> {
    let unknown = || PathError::Selector(bracket.to_owned());
    let inner = bracket.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).ok_or_else(unknown)?;
    if inner == "-1" {
        return Ok(Segment::Append);
    }
    if let Ok(index) = inner.parse() {
        return Ok(Segment::Index(index));
    }
    match inner.split_once(':') {
        Some((key, value)) if !key.is_empty() && !value.is_empty() => {
            Ok(Segment::Element { key: key.to_owned(), value: value.to_owned() })
        }
        _ => Err(unknown()),
    }
}

/// Splits at dots; `\.` is a dot within a segment. Empty segments, as of a leading dot, do not count.
fn split_unescaped(path: &str) -> Vec<String> {
    let mut segments = vec![String::new()];
    let mut chars = path.chars().peekable();
    while let Some(c) = chars.next() {
        match c {
            '\\' if chars.peek() == Some(&'.') => {
                chars.next();
                segments.last_mut().into_iter().for_each(|segment| segment.push('.'));
            }
            '.' => segments.push(String::new()),
            other => segments.last_mut().into_iter().for_each(|segment| segment.push(other)),
        }
    }
    segments.retain(|segment| !segment.is_empty());
    segments
}

impl std::fmt::Display for Segment {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Field(name) => f.write_str(name),
            Self::Index(index) => write!(f, "[{index}]"),
            Self::Append => f.write_str("[-1]"),
            Self::Element { key, value } => write!(f, "[{key}:{value}]"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{PathError, set};
    use serde_json::{Value, json};

    fn workload() -> Value {
        json!({"spec": {"template": {"metadata": {"labels": {"app": "istiod"}}, "spec": {"containers": [
            {"name": "discovery", "args": ["a", "b"]}, {"name": "other", "port": 80}]}}}})
    }

    fn after(path: &str, value: &Value) -> Result<Value, PathError> {
        let mut object = workload();
        set(&mut object, path, value)?;
        Ok(object)
    }

    #[test]
    fn escaped_dots_belong_to_the_key_and_missing_maps_are_made() {
        let object =
            after("spec.template.metadata.labels.kyma-project\\.io/module", &json!("istio")).unwrap();
        assert_eq!(object["spec"]["template"]["metadata"]["labels"]["kyma-project.io/module"], "istio");
        let object = after("spec.strategy.rollingUpdate.maxSurge", &json!(1)).unwrap();
        assert_eq!(object["spec"]["strategy"]["rollingUpdate"]["maxSurge"], 1);
    }

    #[test]
    fn a_list_or_map_replaces_what_was_there() {
        let object = after("spec.template.metadata.labels", &json!(["x"])).unwrap();
        assert_eq!(object["spec"]["template"]["metadata"]["labels"], json!(["x"]));
    }

    #[test]
    fn list_elements_are_found_by_key_or_index_and_appended_past_the_end() {
        let base = "spec.template.spec.containers";
        let cases = [
            (format!("{base}.[name:discovery].image"), "/spec/template/spec/containers/0/image"),
            (format!("{base}[name:other].image"), "/spec/template/spec/containers/1/image"),
            (format!("{base}.[port:80].image"), "/spec/template/spec/containers/1/image"),
            (format!("{base}[0].args[1]"), "/spec/template/spec/containers/0/args/1"),
            (format!("{base}[0].args[-1]"), "/spec/template/spec/containers/0/args/2"),
            (format!("{base}[0].args[7]"), "/spec/template/spec/containers/0/args/2"),
            (format!("{base}[0].ports[0].name"), "/spec/template/spec/containers/0/ports/0/name"),
        ];
        for (path, pointer) in cases {
            assert_eq!(after(&path, &json!("new")).unwrap().pointer(pointer), Some(&json!("new")), "{path}");
        }
    }

    #[test]
    fn null_deletes() {
        let object = after("spec.template.metadata.labels.app", &Value::Null).unwrap();
        assert_eq!(object["spec"]["template"]["metadata"]["labels"], json!({}));
        let object = after("spec.template.spec.containers.[name:other]", &Value::Null).unwrap();
        assert_eq!(object["spec"]["template"]["spec"]["containers"].as_array().unwrap().len(), 1);
    }

    #[test]
    fn a_path_that_does_not_match_reports_where() {
        let cases = [
            ("", "the path is empty"),
            (
                "spec.template.spec.containers.name",
                "'spec.template.spec.containers' is a list, so 'name' cannot be below it",
            ),
            (
                "spec.template.metadata.labels.app.x",
                "'spec.template.metadata.labels.app' is a single value, so 'x' cannot be below it",
            ),
            (
                "spec.template.spec.containers[name:none].image",
                "no element '[name:none]' in the list at 'spec.template.spec.containers'",
            ),
            ("spec.template.spec.containers[:x]", "'[:x]' is neither an index nor a 'key:value' selector"),
        ];
        for (path, expected) in cases {
            assert_eq!(after(path, &json!(1)).unwrap_err().to_string(), expected);
        }
    }
}
