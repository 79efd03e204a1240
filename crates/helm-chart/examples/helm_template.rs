//! Renders a chart to standard output, as `helm template` does.
//!
//! `helm_template --help` tells how it is called.

mod certificates;

use helm_chart::{
    Capabilities, Chart, Environment, Limits, Operation, Options, merge_values, parse_values, render,
};
use std::error::Error;
use std::fs::File;
use std::io::{Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::SystemTime;

type Result<T> = std::result::Result<T, Box<dyn Error + Send + Sync>>;

const HELP: &str = "\
Renders a Helm chart to standard output, as `helm template` does: without Helm, a cluster or a network.

usage: helm_template CHART [OPTION]…

  CHART                     folder or archive (.tgz) of a chart; what it depends on has to be in its charts/
  --name RELEASE            name of the release (release-name)
  -n, --namespace NAME      namespace of the release (default)
  -f, --values FILE         values over the chart's own; `-` is standard input. Given more than once, the later
                            file wins; null removes a default
  --include-crds            print the definitions in crds/ first
  --is-upgrade              render as for `helm upgrade`
  --kube-version VERSION    version of Kubernetes that the chart sees
  -a, --api-versions LIST   further APIs that the chart sees, such as monitoring.coreos.com/v1
  --skip-schema-validation  do not check values against values.schema.json

examples:
  helm_template ./chart
  helm_template ./chart --name demo -n test -f production.yaml -f secrets.yaml --include-crds
  echo 'replicas: 3' | helm_template ./chart -f -

What is random (passwords, keys, certificates) is new each time, as with Helm. `lookup` finds nothing.
Notes are rendered, so that they can refuse values, but not printed.

An error goes to standard error and gives exit code 1. That of a template shows its line:

  Error: cannot render chart 'demo': demo/templates/a.yaml:2:9: at <.Values.port.http>: nil pointer evaluating …
    |
  2 | port: {{ .Values.port.http }}
    |          ^
";

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
    let answer = || match arguments()? {
        Some(arguments) => template(&arguments),
        None => Ok(HELP.to_owned()),
    };
    let rendering = std::thread::Builder::new().stack_size(STACK).spawn(answer);
    let printed = match rendering.map(std::thread::JoinHandle::join) {
        Ok(Ok(printed)) => printed,
        Ok(Err(_)) => Err("the rendering ended without a result".into()),
        Err(error) => Err(error.into()),
    };
    match printed.and_then(|text| Ok(std::io::stdout().write_all(text.as_bytes())?)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("Error: {}", format_error_chain(&*error));
            ExitCode::FAILURE
        }
    }
}

fn template(arguments: &Arguments) -> Result<String> {
    let chart = Chart::load(&arguments.chart)?;
    let mut values = serde_json::json!({});
    for path in &arguments.values {
        let named =
            |error: &(dyn Error + 'static)| format!("{}: {}", path.display(), format_error_chain(error));
        let text = read_values(path).map_err(|error| named(&error))?;
        merge_values(&mut values, parse_values(&text).map_err(|error| named(&error))?);
    }
    Ok(render(&chart, &values, &arguments.options)?.print(arguments.includes_crds)?)
}

fn read_values(path: &Path) -> std::io::Result<String> {
    if path == Path::new("-") {
        return std::io::read_to_string(std::io::stdin());
    }
    std::fs::read_to_string(path)
}

/// What is asked; nothing when it is help.
fn arguments() -> Result<Option<Arguments>> {
    let mut options = Options::install("release-name", "default");
    let mut seed = [0; 32];
    File::open("/dev/urandom")?.read_exact(&mut seed)?;
    options.environment =
        Environment::new().with_now(SystemTime::now()).with_seed(seed).with_certificates(certificates::make);
    options.limits = Limits::default().with_stack_bytes(STACK / 2);
    let (mut chart, mut values, mut includes_crds) = (None, Vec::new(), false);
    let mut words = std::env::args().skip(1);
    while let Some(word) = words.next() {
        let mut value = || words.next().ok_or_else(|| format!("{word} needs a value; --help tells more"));
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
            "-h" | "--help" => return Ok(None),
            _ if word.starts_with('-') || chart.is_some() => {
                return Err(format!("'{word}' is not known; --help tells what is").into());
            }
            _ => chart = Some(PathBuf::from(word)),
        }
    }
    let chart = chart.ok_or("no chart is named; --help tells more")?;
    Ok(Some(Arguments { chart, values, includes_crds, options }))
}

/// An error with its causes; that of a template shows its line.
fn format_error_chain(error: &(dyn Error + 'static)) -> String {
    let template = error.downcast_ref::<Box<gotemplate::Error>>().map(AsRef::as_ref);
    let own = match template.or_else(|| error.downcast_ref::<gotemplate::Error>()) {
        Some(error) => error.pretty(),
        None => error.to_string(),
    };
    match error.source() {
        Some(source) => format!("{own}: {}", format_error_chain(source)),
        None => own,
    }
}
