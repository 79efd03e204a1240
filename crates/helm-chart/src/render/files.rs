//! The object `.Files`: the chart's files that are not templates.
//!
//! A file that does not exist reads as empty, as with Helm.

use crate::chart::{File, Glob};
use gotemplate::{CallResult, Map, MapType, Object, Value as Data, yaml};
use std::collections::BTreeMap;
use std::rc::Rc;
use std::sync::Arc;

/// Files by path, all or those that a pattern names.
pub(super) struct Files {
    all: Arc<Vec<File>>,
    /// Positions of the files that are seen, in the order of their paths.
    visible: Vec<usize>,
}

impl Files {
    pub(super) fn new(all: Arc<Vec<File>>) -> Self {
        let by_path: BTreeMap<&str, usize> =
            all.iter().enumerate().map(|(index, file)| (file.path.as_str(), index)).collect();
        let visible = by_path.into_values().collect();
        Self { all, visible }
    }

    fn files(&self) -> impl Iterator<Item = &File> {
        self.visible.iter().filter_map(|index| self.all.get(*index))
    }

    fn data(&self, path: &str) -> &[u8] {
        self.files().find(|file| file.path == path).map_or(&[], |file| &file.data)
    }

    fn glob(&self, pattern: &str) -> Self {
        let pattern = Glob::parse(pattern);
        let visible = self.visible.iter().copied();
        let matches = |index: &usize| self.all.get(*index).is_some_and(|file| pattern.matches(&file.path));
        Self { all: self.all.clone(), visible: visible.filter(matches).collect() }
    }

    /// The files by their names without folders, as YAML.
    fn flattened(&self, value: fn(&[u8]) -> Data) -> Data {
        let named = self.files().map(|file| {
            let name = file.path.rsplit('/').next().unwrap_or_default();
            (Rc::from(name), value(&file.data))
        });
        let map = Map::of(MapType::String, named);
        Data::string(yaml::to_string(&Data::Map(map)).unwrap_or_default())
    }

    fn lines(&self, path: &str) -> Data {
        let text = String::from_utf8_lossy(self.data(path));
        if text.is_empty() {
            return Data::strings::<&str>([]);
        }
        Data::strings(text.strip_suffix('\n').unwrap_or(&text).split('\n'))
    }
}

impl Object for Files {
    fn type_name(&self) -> &'static str {
        "engine.files"
    }

    fn kind(&self) -> &'static str {
        "map"
    }

    /// Go takes the name for a path, and returns the bytes of the file.
    fn field(&self, name: &str) -> Option<Data> {
        Some(Data::Bytes(Rc::from(self.data(name))))
    }

    fn call(&self, method: &str, arguments: &[Data]) -> Option<CallResult> {
        let wrong = |wanted: usize| {
            Some(Err(
                format!("wrong number of args for {method}: want {wanted} got {}", arguments.len()).into()
            ))
        };
        match (method, arguments) {
            ("AsConfig", []) => Some(Ok(self.flattened(|data| Data::text(data.to_vec())))),
            ("AsSecrets", []) => Some(Ok(self.flattened(|data| Data::Bytes(Rc::from(data))))),
            ("AsConfig" | "AsSecrets", _) => wrong(0),
            ("Get" | "GetBytes" | "Lines" | "Glob", [path]) => {
                let Some(path) = path.as_str() else {
                    return Some(Err(format!(
                        "wrong type for value; expected string; got {}",
                        path.type_name()
                    )
                    .into()));
                };
                Some(Ok(match method {
                    "Get" => Data::text(self.data(path).to_vec()),
                    "GetBytes" => Data::Bytes(Rc::from(self.data(path))),
                    "Lines" => self.lines(path),
                    _ => Data::Object(Rc::new(self.glob(path))),
                }))
            }
            ("Get" | "GetBytes" | "Lines" | "Glob", _) => wrong(1),
            _ => None,
        }
    }

    fn entries(&self) -> Option<Vec<(Rc<str>, Data)>> {
        Some(
            self.files()
                .map(|file| (Rc::from(file.path.as_str()), Data::Bytes(Rc::from(&*file.data))))
                .collect(),
        )
    }

    fn data(&self) -> Option<Data> {
        Some(Data::Map(self.entries().into_iter().flatten().collect()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_are_read_as_text_as_lines_and_by_pattern() {
        let file = |path: &str, text: &str| File { path: path.to_owned(), data: text.as_bytes().to_vec() };
        let files = Files::new(Arc::new(vec![file("b/c.txt", "x"), file("a.txt", "one\ntwo\n")]));
        let call = |method, arguments: &[&str]| {
            let arguments: Vec<Data> = arguments.iter().map(Data::string).collect();
            files.call(method, &arguments).unwrap().unwrap()
        };
        assert_eq!(call("Get", &["a.txt"]).as_str(), Some("one\ntwo\n"));
        assert_eq!(call("Get", &["missing"]).as_str(), Some(""));
        assert_eq!(call("Lines", &["a.txt"]).to_json().unwrap(), serde_json::json!(["one", "two"]));
        assert_eq!(call("AsSecrets", &[]).as_str(), Some("a.txt: b25lCnR3bwo=\nc.txt: eA=="));
        let Data::Object(found) = call("Glob", &["b/*"]) else { panic!("Glob gives files") };
        assert_eq!(found.entries().unwrap().len(), 1);
        assert!(files.call("Get", &[]).unwrap().is_err() && files.call("Nope", &[]).is_none());
    }
}
