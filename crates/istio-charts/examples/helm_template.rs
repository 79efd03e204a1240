//! Renders a chart to standard output, as `helm template` does.
//!
//! usage: `helm_template CHART [--name RELEASE] [-n NAMESPACE] [-f VALUES.yaml]… [--include-crds] [--is-upgrade]
//! [--kube-version VERSION] [-a API_VERSION]… [--skip-schema-validation]`

use gotemplate::{Environment, Limits};
use istio_charts::helm::{Capabilities, Operation, Options, render};
use istio_charts::{Chart, merge_values, parse_values};
use std::error::Error;
use std::fs::File;
use std::io::{Read as _, Write as _};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{SystemTime, UNIX_EPOCH};

type Result<T> = std::result::Result<T, Box<dyn Error + Send + Sync>>;

const USAGE: &str = "usage: helm_template CHART [--name RELEASE] [-n NAMESPACE] [-f VALUES.yaml]… [--include-crds] \
    [--is-upgrade] [--kube-version VERSION] [-a API_VERSION]… [--skip-schema-validation]";

/// Templates that call each other a thousand times, which is Helm's limit, need more than a usual stack.
const STACK: usize = 512 << 20;

/// What the command line asks for.
struct Arguments {
    chart: PathBuf,
    values: Vec<PathBuf>,
    includes_crds: bool,
    options: Options,
}

fn main() -> ExitCode {
    let rendering =
        std::thread::Builder::new().stack_size(STACK).spawn(|| arguments().and_then(|a| template(&a)));
    let printed = match rendering.map(std::thread::JoinHandle::join) {
        Ok(Ok(printed)) => printed,
        Ok(Err(_)) => Err("the rendering ended without a result".into()),
        Err(error) => Err(error.into()),
    };
    match printed.and_then(|text| Ok(std::io::stdout().write_all(text.as_bytes())?)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("Error: {}", told(&*error));
            ExitCode::FAILURE
        }
    }
}

fn template(arguments: &Arguments) -> Result<String> {
    let chart = Chart::load(&arguments.chart)?;
    let mut values = serde_json::json!({});
    for path in &arguments.values {
        let named = |error: &(dyn Error + 'static)| format!("{}: {}", path.display(), told(error));
        let text = std::fs::read_to_string(path).map_err(|error| named(&error))?;
        merge_values(&mut values, parse_values(&text).map_err(|error| named(&error))?);
    }
    Ok(render(&chart, &values, &arguments.options)?.print(arguments.includes_crds)?)
}

fn arguments() -> Result<Arguments> {
    let mut options = Options::install("release-name", "default");
    let now = SystemTime::now().duration_since(UNIX_EPOCH)?;
    let mut seed = [0; 32];
    File::open("/dev/urandom")?.read_exact(&mut seed)?;
    options.environment = Environment { now: Some(now.as_secs().cast_signed()), seed: Some(seed) };
    options.limits = Limits { stack: STACK / 2, ..Limits::default() };
    let (mut chart, mut values, mut includes_crds) = (None, Vec::new(), false);
    let mut words = std::env::args().skip(1);
    while let Some(word) = words.next() {
        let mut value = || words.next().ok_or_else(|| format!("{word} needs a value\n{USAGE}"));
        match word.as_str() {
            "--name" => options.release.name = value()?,
            "-n" | "--namespace" => options.release.namespace = value()?,
            "-f" | "--values" => values.push(PathBuf::from(value()?)),
            "--kube-version" => {
                let versions = std::mem::take(&mut options.capabilities.api_versions);
                options.capabilities =
                    Capabilities { api_versions: versions, ..Capabilities::of_version(&value()?) };
            }
            "-a" | "--api-versions" => {
                options.capabilities.api_versions.extend(value()?.split(',').map(str::to_owned));
            }
            "--include-crds" => includes_crds = true,
            "--is-upgrade" => options.release.operation = Operation::Upgrade,
            "--skip-schema-validation" => options.checks_schema = false,
            "-h" | "--help" => return Err(USAGE.into()),
            _ if word.starts_with('-') || chart.is_some() => {
                return Err(format!("'{word}' is not known\n{USAGE}").into());
            }
            _ => chart = Some(PathBuf::from(word)),
        }
    }
    Ok(Arguments { chart: chart.ok_or(USAGE)?, values, includes_crds, options })
}

/// An error with its causes; that of a template shows its line.
fn told(error: &(dyn Error + 'static)) -> String {
    let own = match error.downcast_ref::<gotemplate::Error>() {
        Some(error) => error.pretty(),
        None => error.to_string(),
    };
    match error.source() {
        Some(source) => format!("{own}: {}", told(source)),
        None => own,
    }
}
