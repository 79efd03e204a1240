//! The files of a chart's folder, links followed, without those that `.helmignore` names.

use super::ignore::Rules;
use super::{ChartError, File};
use std::fs;
use std::path::Path;

/// Folders within folders; a link to a folder above ends here.
const DEPTH_LIMIT: usize = 40;

pub(super) fn files(root: &Path, left_out: &[&str]) -> Result<Vec<File>, ChartError> {
    let rules = match fs::read_to_string(root.join(".helmignore")) {
        Ok(text) => Rules::parse(&text).map_err(ChartError::Ignore)?,
        Err(_) => Rules::parse("").map_err(ChartError::Ignore)?,
    };
    let mut walker = Walker { rules, left_out, files: Vec::new() };
    walker.folder(root, "", 0)?;
    Ok(walker.files)
}

struct Walker<'a> {
    rules: Rules,
    left_out: &'a [&'a str],
    files: Vec<File>,
}

impl Walker<'_> {
    /// Reads a folder in the order of names.
    fn folder(&mut self, folder: &Path, prefix: &str, depth: usize) -> Result<(), ChartError> {
        let unreadable = |source| ChartError::Read { path: folder.to_owned(), source };
        if depth > DEPTH_LIMIT {
            return Err(unreadable(std::io::Error::other("folders are nested too deeply")));
        }
        let mut names = Vec::new();
        for entry in fs::read_dir(folder).map_err(unreadable)? {
            let name = entry.map_err(unreadable)?.file_name().into_string();
            names.push(name.map_err(|name| ChartError::Encoding(name.to_string_lossy().into_owned()))?);
        }
        names.sort();
        for name in names {
            self.entry(&folder.join(&name), format!("{prefix}{name}"), depth)?;
        }
        Ok(())
    }

    fn entry(&mut self, path: &Path, name: String, depth: usize) -> Result<(), ChartError> {
        let unreadable = |source| ChartError::Read { path: path.to_owned(), source };
        let kind = fs::metadata(path).map_err(unreadable)?;
        if self.rules.ignores(&name, kind.is_dir()) || self.left_out.contains(&name.as_str()) {
            return Ok(());
        }
        if kind.is_dir() {
            return self.folder(path, &format!("{name}/"), depth + 1);
        }
        if !kind.is_file() {
            return Err(unreadable(std::io::Error::other("it is not a regular file")));
        }
        let data = fs::read(path).map_err(unreadable)?;
        let data = data.strip_prefix(b"\xef\xbb\xbf").map(<[u8]>::to_vec).unwrap_or(data);
        self.files.push(File { path: name, data });
        Ok(())
    }
}
