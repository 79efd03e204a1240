//! Server-side apply of one object: who owns which field, adoption from previous installers, and yielded fields.
//!
//! It must not know the plan, the inventory, stages or readiness.

pub mod admission_mutations;
pub mod adoption;
pub mod apply;
pub mod managed_fields;
pub mod yielded_fields;
