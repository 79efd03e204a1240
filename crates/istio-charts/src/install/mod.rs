//! Istio's installer: from an `IstioOperator` document to the objects of its components.
//!
//! Pure: reads the bundle and its arguments, no cluster, no clock, no environment. Applies nothing; the CustomResourceDefinitions
//! of Istio come from [`Bundle::crds`], not from here.
//!
//! The document is what Istio documents as the `IstioOperator` API, merged over an installation profile:
//! <https://istio.io/latest/docs/reference/config/istio.operator.v1alpha1/>.

mod component;
mod default_tag;
mod labels;
mod layers;
mod nulls;
mod overlay;
mod patch;
pub mod strategic_merge;

pub use component::ComponentName;
pub use labels::add_owner_labels;
pub use nulls::default_of;
pub use overlay::PathError;

use crate::bundle::{Bundle, BundleError};
use component::Item;
use gotemplate::Limits;
use helm_chart::{Capabilities, Operation, Options, RenderError};
use serde_json::Value;

/// Why an `IstioOperator` document cannot be rendered.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A component or a setting that Istio does not have.
    #[error("unknown field '{field}' at '{path}'")]
    UnknownField {
        /// Path in the document.
        path: String,
        /// The unknown name.
        field: String,
    },
    /// A part of the document is of the wrong type.
    #[error("'{path}' is not {expected}")]
    WrongType {
        /// Path in the document.
        path: String,
        /// The expected type.
        expected: &'static str,
    },
    /// A gateway without a name.
    #[error("component {component}: gateway without name")]
    Unnamed {
        /// The gateway list.
        component: ComponentName,
    },
    /// The bundle does not provide a profile or chart.
    #[error("cannot load charts or profiles")]
    Bundle(#[from] BundleError),
    /// A chart fails to render.
    #[error("failed to render component {component}")]
    Render {
        /// Component of the chart.
        component: ComponentName,
        /// Cause: chart, file, line, column and expression.
        source: RenderError,
    },
    /// An overlay for an object that its component does not have.
    #[error("component {component}: the overlay for {kind} '{name}' matches no rendered object")]
    OverlayWithoutObject {
        /// Component with the overlay.
        component: ComponentName,
        /// Kind that the overlay names.
        kind: String,
        /// Name that the overlay names.
        name: String,
    },
    /// The path of an overlay does not fit its object.
    #[error("component {component}: cannot apply overlay for {kind} '{name}' at '{path}'")]
    Overlay {
        /// Component with the overlay.
        component: ComponentName,
        /// Kind of the object.
        kind: String,
        /// Name of the object.
        name: String,
        /// Path in the object.
        path: String,
        /// Cause.
        source: Box<PathError>,
    },
    /// The charts do not render an object that the installation relies on.
    #[error("the charts did not render {what}")]
    NotRendered {
        /// The object.
        what: &'static str,
    },
}

/// The objects of one component, patched, overlaid and labelled, in the order in which its chart renders them.
#[derive(Debug, Clone, PartialEq)]
pub struct Component {
    /// Which component.
    pub name: ComponentName,
    /// Its Kubernetes objects.
    pub objects: Vec<Value>,
    /// Warnings of the chart, such as of deprecated settings; one sentence each.
    pub warnings: Vec<String>,
}

/// Renders everything an `IstioOperator` document asks for, except the CustomResourceDefinitions.
///
/// `operator` is the whole document with `metadata` and `spec`; `kubernetes_version` is the server's version, such as
/// `v1.36.3`; `limits` is what each template may use up. Components come in Istio's order, those with several gateways as
/// one.
pub fn render(
    bundle: &Bundle,
    operator: &Value,
    kubernetes_version: &str,
    limits: Limits,
) -> Result<Vec<Component>, Error> {
    component::check_names(operator)?;
    let document = layers::merged_document(bundle, operator)?;
    let mut components = Vec::new();
    for name in ComponentName::ALL {
        let mut component = Component { name, objects: Vec::new(), warnings: Vec::new() };
        let items = component::items(name, &document)?;
        for item in &items {
            let options = options(item, kubernetes_version, limits);
            render_item(bundle, item, &document, &options, &mut component)?;
        }
        for object in &mut component.objects {
            add_owner_labels(object, name, bundle.version());
        }
        if !items.is_empty() {
            components.push(component);
        }
    }
    Ok(components)
}

fn render_item(
    bundle: &Bundle,
    item: &Item,
    document: &Value,
    options: &Options,
    component: &mut Component,
) -> Result<(), Error> {
    let mut values = layers::chart_values(item, document);
    let with_default_tag = item.component == ComponentName::Pilot && default_tag::is_wanted(&values);
    if with_default_tag {
        default_tag::request(&mut values);
    }
    if item.component == ComponentName::Base {
        // The definitions are not among the bundle's chart files, so the template that would print them must not look.
        *layers::entry(&mut values, &["base", "enableCRDTemplates"]) = Value::Bool(false);
    }
    let ChartOutput { mut objects, warnings, nulls_removed } =
        render_chart(bundle, item.component, item.component.chart(), &values, options)?;
    let revision = values
        .get("revision")
        .and_then(Value::as_str)
        .filter(|revision| !revision.is_empty() && *revision != "default");
    patch::apply(item, revision, &mut objects)?;
    if with_default_tag {
        default_tag::complete(bundle, &values, options, &mut objects)?;
    }
    if nulls_removed {
        objects.iter_mut().for_each(nulls::clean);
    }
    component.objects.extend(objects);
    component.warnings.extend(warnings);
    Ok(())
}

/// As Istio's installer renders: it neither installs nor upgrades, and has checked the values before. Unlike there, an
/// integer stays an integer: Kubernetes and Istio's programs do not read `8.388608e+06` everywhere.
fn options(item: &Item, kubernetes: &str, limits: Limits) -> Options {
    let mut options = Options::install("istio", &item.namespace);
    options.release.operation = Operation::Render;
    options.capabilities = Capabilities::of_version(kubernetes);
    options.checks_schema = false;
    options.limits = limits;
    options.keeps_integers = true;
    options
}

/// What one chart renders.
struct ChartOutput {
    objects: Vec<Value>,
    /// What it warns of, one sentence each.
    warnings: Vec<String>,
    /// Whether a null in the values removed anything.
    nulls_removed: bool,
}

/// Renders one chart. The parsed chart is gone when this returns.
fn render_chart(
    bundle: &Bundle,
    component: ComponentName,
    chart: &str,
    values: &Value,
    options: &Options,
) -> Result<ChartOutput, Error> {
    let mut chart = bundle.chart(chart)?;
    let mut values = values.clone();
    // The values of ztunnel stand at the top already.
    let section = if component == ComponentName::Ztunnel { &[] } else { component.values_path() };
    let nulls_removed = nulls::remove(&mut values, &mut chart, section);
    let failed = |source| Error::Render { component, source };
    let rendering = helm_chart::render(&chart, &values, options).map_err(failed)?;
    let warnings = rendering
        .notes()
        .lines()
        .filter_map(|line| line.strip_prefix("WARNING: "))
        .map(str::to_owned)
        .collect();
    Ok(ChartOutput { objects: rendering.objects().map_err(failed)?, warnings, nulls_removed })
}
