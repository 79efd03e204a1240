//! Go's `text/template` language with the functions of Sprig and Helm.
//!
//! [`Templates`] holds parsed templates and executes them over a [`Value`]; [`yaml`] reads and writes YAML as Go does. No
//! clock, no environment, no network: the same input gives the same output.
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

mod ast;
mod error;
mod exec;
mod format;
mod functions;
mod lexer;
mod merge;
mod parser;
mod templates;
mod value;
pub mod yaml;

pub use error::Error;
pub use merge::{merge, merge_overwrite};
pub use templates::{Limits, Templates};
pub use value::{ConversionError, List, Map, Object, Value};
