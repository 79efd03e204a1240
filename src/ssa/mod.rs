//! Server-side apply: ownership of fields, adoption of objects of previous installers, and fields that are yielded.
//!
//! It knows one object at a time, and neither stages nor readiness.

pub mod admission_mutations;
pub mod adoption;
pub mod apply;
pub mod managed_fields;
pub mod yielded_fields;
