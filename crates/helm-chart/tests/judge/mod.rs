//! Renders with Helm and with this crate, and tells where the two differ.

#![allow(dead_code, clippy::unwrap_used, clippy::panic, reason = "helpers of tests, of which each uses some")]

use super::oracle::{Answer, Oracle, Request};
use helm_chart::{Capabilities, Chart, Environment, Operation, Options, parse_values, render};
use serde_json::json;
use std::error::Error;
use std::path::Path;
use std::time::SystemTime;

/// What both make of a request.
pub enum Comparison {
    /// The same text.
    Equal,
    /// The same text, but for what is random or tells the time.
    EqualButRandom,
    /// Both fail, each with its reason.
    BothFail { ours: String, helms: String },
    /// How they differ.
    Differ(String),
}

/// Whether both render; the error describes how they differ.
pub fn compare(oracle: &mut Oracle, request: &Request) -> Result<bool, String> {
    match compare_with_helm(oracle, request) {
        Comparison::Equal | Comparison::EqualButRandom => Ok(true),
        Comparison::BothFail { .. } => Ok(false),
        Comparison::Differ(difference) => {
            Err(format!("{} with {:?}: {difference}", request.chart, request.values))
        }
    }
}

/// A rendering: the text that is printed, and the notes.
type Printed = (String, String);

pub fn compare_with_helm(oracle: &mut Oracle, request: &Request) -> Comparison {
    let helms = oracle.ask(request);
    match (ours(request), helms.error.as_str()) {
        (Ok((printed, notes)), "") if printed == helms.output && notes == helms.notes => Comparison::Equal,
        (Ok(ours), "") => random_or_different(oracle, request, &ours, &helms),
        (Err(ours), error) if !error.is_empty() => Comparison::BothFail { ours, helms: error.to_owned() },
        (Ok(_), error) => Comparison::Differ(format!("Helm fails: {error}")),
        (Err(error), _) => Comparison::Differ(format!("only we fail: {error}")),
    }
}

/// A difference does not count where Helm differs from itself.
fn random_or_different(oracle: &mut Oracle, request: &Request, ours: &Printed, helms: &Answer) -> Comparison {
    let again = oracle.ask(request);
    let output = difference(&ours.0, &helms.output, &again.output);
    let notes = || difference(&ours.1, &helms.notes, &again.notes).map(|lines| format!("notes: {lines}"));
    match output.or_else(notes) {
        None => Comparison::EqualButRandom,
        Some(lines) => Comparison::Differ(lines),
    }
}

/// The first line of a text that differs from Helm's where both of Helm's agree.
fn difference(ours: &str, helms: &str, again: &str) -> Option<String> {
    let mut lines = ours.lines().zip(helms.lines().zip(again.lines())).enumerate();
    let wrong = lines.find(|(_, (ours, (helms, again)))| !agrees(ours, helms, again));
    if let Some((number, (ours, (helms, _)))) = wrong {
        return Some(format!("line {}\n    ours: {ours}\n    Helm: {helms}", number + 1));
    }
    let (count, wanted) = (ours.lines().count(), helms.lines().count());
    // Keys and certificates differ in length.
    if count != wanted && helms == again {
        return Some(format!("{count} lines instead of {wanted}"));
    }
    (helms == again && ours != helms).then(|| "the same lines, but other line ends".to_owned())
}

/// Whether a line is Helm's, or starts and ends like it where Helm differs from itself.
fn agrees(ours: &str, helms: &str, again: &str) -> bool {
    if helms == again {
        return ours == helms;
    }
    let common = |a: &mut dyn Iterator<Item = char>, b: &mut dyn Iterator<Item = char>| {
        a.zip(b).take_while(|(a, b)| a == b).map(|(a, _)| a.len_utf8()).sum::<usize>()
    };
    // One character less: two random texts can start alike.
    let start =
        common(&mut helms.chars(), &mut again.chars()).min(helms.find([' ', ':']).map_or(0, |at| at + 1));
    helms.get(..start).is_some_and(|start| ours.starts_with(start))
}

/// What we make of a request.
pub fn ours(request: &Request) -> Result<Printed, String> {
    let chart = Chart::load(Path::new(&request.chart)).map_err(|error| format_error_chain(&error))?;
    let mut values = json!({});
    for text in &request.values {
        helm_chart::merge_values(
            &mut values,
            parse_values(text).map_err(|error| format_error_chain(&error))?,
        );
    }
    let mut options = Options::install(&request.name, &request.namespace);
    options.environment = Environment::new()
        .with_now(SystemTime::now())
        .with_seed([1; 32])
        .with_certificates(super::certificates::make);
    options.capabilities.api_versions.extend(request.api_versions.clone());
    if !request.kube_version.is_empty() {
        let versions = std::mem::take(&mut options.capabilities.api_versions);
        options.capabilities = Capabilities::of_version(&request.kube_version);
        options.capabilities.api_versions = versions;
    }
    if request.is_upgrade {
        options.release.operation = Operation::Upgrade;
    }
    let rendering = render(&chart, &values, &options).map_err(|error| format_error_chain(&error))?;
    let printed = rendering.print(request.include_crds).map_err(|error| format_error_chain(&error))?;
    Ok((printed, rendering.notes().to_owned()))
}

pub fn format_error_chain(error: &dyn Error) -> String {
    error
        .source()
        .map_or_else(|| error.to_string(), |source| format!("{error}: {}", format_error_chain(source)))
}
