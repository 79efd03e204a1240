//! Packs the exported charts of Istio into the crate.
//!
//! Reads `.charts/VERSION` of the workspace, which `make charts` fills; writes `embedded.rs` and the packed data to
//! `OUT_DIR`. The CustomResourceDefinitions are converted to JSON here, because parsing their YAML at run time would cost
//! more than rendering everything else.

use flate2::{Compression, write::ZlibEncoder};
use std::collections::BTreeMap;
use std::error::Error;
use std::fmt::Write as _;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::{env, fs, process};

type Result<T> = std::result::Result<T, Box<dyn Error>>;

const CRDS: &str = "files/crd-all.gen.yaml";

fn main() {
    if let Err(error) = run() {
        println!("cargo::error={error}");
        process::exit(1);
    }
}

fn run() -> Result<()> {
    let workspace = Path::new(&env::var("CARGO_MANIFEST_DIR")?).join("../..");
    let version_file = workspace.join("tools/istio/VERSION");
    let version = fs::read_to_string(&version_file)?.trim().to_owned();
    let bundle = workspace.join(".charts").join(&version);
    println!("cargo::rerun-if-changed={}", version_file.display());
    // The export replaces this file whenever it exports anew; as long as it is missing, cargo runs this again.
    println!("cargo::rerun-if-changed={}", bundle.join("source").display());
    if !bundle.join("charts").is_dir() || !bundle.join("profiles").is_dir() {
        return Err(format!(
            "Istio's charts {version} are not in .charts/{version}: run `make charts` to fetch them"
        )
        .into());
    }
    embed(&version, &bundle, Path::new(&env::var("OUT_DIR")?))
}

fn embed(version: &str, bundle: &Path, out: &Path) -> Result<()> {
    let mut source = format!("pub(crate) const VERSION: &str = {version:?};\n");
    let mut definitions = String::new();
    source += "static CHARTS: &[(&str, &[u8])] = &[\n";
    for chart in chart_directories(&bundle.join("charts"))? {
        let mut files = text_files(&chart)?;
        if let Some(yaml) = files.remove(CRDS) {
            definitions = yaml;
        }
        let name = relative(&chart, &bundle.join("charts"))?;
        let file = pack(out, &format!("chart-{}", name.replace('/', "-")), &serde_json::to_vec(&files)?)?;
        writeln!(source, "    ({name:?}, include_bytes!({file:?})),")?;
    }
    let profiles = pack(out, "profiles", &serde_json::to_vec(&text_files(&bundle.join("profiles"))?)?)?;
    writeln!(source, "];\nstatic PROFILES: &[u8] = include_bytes!({profiles:?});")?;
    source += "pub(crate) static CRDS: &[&[u8]] = &[\n";
    for (index, definition) in gotemplate::yaml::parse_documents(&definitions)?.iter().enumerate() {
        let file = pack(out, &format!("crd-{index}"), &serde_json::to_vec(&definition.to_json()?)?)?;
        writeln!(source, "    include_bytes!({file:?}),")?;
    }
    source += "];\n";
    fs::write(out.join("embedded.rs"), source)?;
    Ok(())
}

/// Compresses `data` into a file of that name and returns the file's name, which is relative to the generated source.
fn pack(out: &Path, name: &str, data: &[u8]) -> Result<String> {
    let file = format!("{name}.z");
    let mut encoder = ZlibEncoder::new(fs::File::create(out.join(&file))?, Compression::best());
    encoder.write_all(data)?;
    encoder.finish()?;
    Ok(file)
}

/// Every folder with a Chart.yaml, sorted.
fn chart_directories(root: &Path) -> Result<Vec<PathBuf>> {
    if root.join("Chart.yaml").is_file() {
        return Ok(vec![root.to_owned()]);
    }
    let mut entries: Vec<PathBuf> =
        fs::read_dir(root)?.map(|entry| Ok(entry?.path())).collect::<Result<_>>()?;
    entries.sort();
    let mut charts = Vec::new();
    for directory in entries.iter().filter(|entry| entry.is_dir()) {
        charts.extend(chart_directories(directory)?);
    }
    Ok(charts)
}

/// All files below `root` that rendering can need, by their path relative to it. Documentation is left out.
fn text_files(root: &Path) -> Result<BTreeMap<String, String>> {
    let mut files = BTreeMap::new();
    let mut pending = vec![root.to_owned()];
    while let Some(directory) = pending.pop() {
        for entry in fs::read_dir(directory)? {
            let path = entry?.path();
            if path.is_dir() {
                pending.push(path);
            } else if path.extension().is_none_or(|extension| extension != "md") {
                files.insert(relative(&path, root)?, fs::read_to_string(&path)?);
            }
        }
    }
    Ok(files)
}

fn relative(path: &Path, root: &Path) -> Result<String> {
    let parts: Option<Vec<&str>> = path.strip_prefix(root)?.iter().map(|part| part.to_str()).collect();
    Ok(parts.ok_or("a path that is not UTF-8")?.join("/"))
}
