//! Go's `text/template` language with the functions of Sprig and Helm.
//!
//! [`Templates`] holds parsed templates and executes them over a [`Value`]; [`yaml`] reads and writes YAML as Go does;
//! [`semver`] compares versions as Helm does. No clock, no environment, no network: the same input gives the same output.
//!
//! ```
//! use gotemplate::{Templates, Value};
//!
//! let mut templates = Templates::new();
//! templates.parse("greeting", "Hello {{ .name | upper }}")?;
//! let dot = Value::from_json(&serde_json::json!({"name": "mesh"}));
//! assert_eq!(templates.execute("greeting", &dot)?, "Hello MESH");
//! # Ok::<(), gotemplate::Error>(())
//! ```

mod date;
mod encoding;
mod error;
mod exec;
mod format;
mod functions;
mod json;
mod merge;
pub mod regular_expression;
pub mod semver;
mod syntax;
mod templates;
mod value;
pub mod yaml;

pub use date::Time;
pub use encoding::base64;
pub use error::Error;
pub use format::float as print_float;
pub use merge::{merge, merge_overwrite};
pub use templates::{Environment, Limits, Templates};
pub use value::{ConversionError, List, Map, MapType, Object, Value};
