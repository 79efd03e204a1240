//! Paths with slashes.

use super::Type::String as Text;
use super::{Function, bytes, plain, preserving_bytes_of_one, text};
use crate::value::Value;

pub(super) const FUNCTIONS: &[Function] = &[
    plain("base", &[Text], |a| Ok(preserving_bytes_of_one([bytes(a, 0)], |[path]| base(path)))),
    plain("dir", &[Text], |a| Ok(preserving_bytes_of_one([bytes(a, 0)], |[path]| directory(path)))),
    plain("clean", &[Text], |a| Ok(preserving_bytes_of_one([bytes(a, 0)], |[path]| clean(path)))),
    plain("ext", &[Text], |a| Ok(preserving_bytes_of_one([bytes(a, 0)], |[path]| extension(path)))),
    plain("isAbs", &[Text], |a| Ok(Value::Bool(text(a, 0).starts_with('/')))),
    plain("osBase", &[Text], |a| Ok(preserving_bytes_of_one([bytes(a, 0)], |[path]| base(path)))),
    plain("osDir", &[Text], |a| Ok(preserving_bytes_of_one([bytes(a, 0)], |[path]| directory(path)))),
    plain("osClean", &[Text], |a| Ok(preserving_bytes_of_one([bytes(a, 0)], |[path]| clean(path)))),
    plain("osExt", &[Text], |a| Ok(preserving_bytes_of_one([bytes(a, 0)], |[path]| extension(path)))),
    plain("osIsAbs", &[Text], |a| Ok(Value::Bool(text(a, 0).starts_with('/')))),
];

/// The last element.
fn base(path: &str) -> String {
    if path.is_empty() {
        return ".".to_owned();
    }
    match path.trim_end_matches('/') {
        "" => "/".to_owned(),
        trimmed => trimmed.rsplit('/').next().unwrap_or_default().to_owned(),
    }
}

/// All but the last element.
fn directory(path: &str) -> String {
    clean(path.rfind('/').and_then(|at| path.get(..=at)).unwrap_or_default())
}

/// The shortest path that means the same.
fn clean(path: &str) -> String {
    let is_absolute = path.starts_with('/');
    let mut parts: Vec<&str> = Vec::new();
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." if parts.last().is_some_and(|last| *last != "..") => drop(parts.pop()),
            ".." if is_absolute => {}
            part => parts.push(part),
        }
    }
    let joined = parts.join("/");
    match (is_absolute, joined.is_empty()) {
        (true, _) => format!("/{joined}"),
        (false, true) => ".".to_owned(),
        (false, false) => joined,
    }
}

fn extension(path: &str) -> String {
    let name = path.rsplit('/').next().unwrap_or_default();
    name.rfind('.').and_then(|at| name.get(at..)).unwrap_or_default().to_owned()
}
