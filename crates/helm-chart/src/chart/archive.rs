//! Charts in archives: gzipped tar files with one folder at the top.

use super::{ChartError, File};
use flate2::read::GzDecoder;
use std::io::Read as _;

/// Helm's limit for all files of a chart together.
const LARGEST: u64 = 100 << 20;

/// The files of an archive, without the folder that holds them all. Paths that lead out of it are refused.
pub(super) fn unpack(packed: &[u8]) -> Result<Vec<File>, ChartError> {
    let broken = |error: std::io::Error| ChartError::Archive(error.to_string());
    if !packed.starts_with(&[0x1f, 0x8b, 0x08]) {
        return Err(ChartError::Archive("it is not gzipped".to_owned()));
    }
    // More than allowed, so that an excess shows.
    let mut archive = tar::Archive::new(GzDecoder::new(packed).take(LARGEST * 2));
    let (mut files, mut left) = (Vec::new(), LARGEST);
    for entry in archive.entries().map_err(broken)? {
        let mut entry = entry.map_err(broken)?;
        let kind = entry.header().entry_type();
        if kind.is_dir() || kind.is_pax_global_extensions() || kind.is_pax_local_extensions() {
            continue;
        }
        let name = String::from_utf8(entry.path_bytes().into_owned())
            .map_err(|error| ChartError::Encoding(error.to_string()))?;
        let path = path_in_chart(&name)?;
        left = left.checked_sub(entry.size()).ok_or_else(|| {
            ChartError::Archive(format!("decompressed chart is larger than the maximum size {LARGEST}"))
        })?;
        let mut data = Vec::new();
        entry.read_to_end(&mut data).map_err(broken)?;
        let data = data.strip_prefix(b"\xef\xbb\xbf").map(<[u8]>::to_vec).unwrap_or(data);
        files.push(File { path, data });
    }
    if files.is_empty() {
        return Err(ChartError::Archive("no files in chart archive".to_owned()));
    }
    Ok(files)
}

/// The path below the top folder.
fn path_in_chart(name: &str) -> Result<String, ChartError> {
    // Archives made on Windows have backslashes.
    let name = if name.contains('\\') { name.replace('\\', "/") } else { name.to_owned() };
    let (top, inside) = name.split_once('/').unwrap_or((&name, ""));
    let outside = || ChartError::Archive(format!("'{name}' is outside the base directory"));
    if top == "Chart.yaml" {
        return Err(ChartError::Archive("chart yaml not in base directory".to_owned()));
    }
    if inside.starts_with('/') {
        return Err(ChartError::Archive("chart illegally contains absolute paths".to_owned()));
    }
    let mut parts: Vec<&str> = Vec::new();
    for part in inside.split('/') {
        match part {
            "" | "." => {}
            ".." => drop(parts.pop().ok_or_else(outside)?),
            part => parts.push(part),
        }
    }
    let is_drive = parts.first().is_some_and(|first| first.len() == 2 && first.ends_with(':'));
    if parts.is_empty() || is_drive {
        return Err(outside());
    }
    Ok(parts.join("/"))
}

#[cfg(test)]
mod tests {
    use super::path_in_chart;

    #[test]
    fn paths_stay_inside_the_chart() {
        assert_eq!(path_in_chart("chart/templates/./a.yaml").unwrap(), "templates/a.yaml");
        assert_eq!(path_in_chart("chart\\templates\\a.yaml").unwrap(), "templates/a.yaml");
        for outside in
            ["chart", "chart/../x", "chart//etc/passwd", "chart/a/../../x", "Chart.yaml", "chart/c:/x"]
        {
            assert!(path_in_chart(outside).is_err(), "{outside}");
        }
    }
}
