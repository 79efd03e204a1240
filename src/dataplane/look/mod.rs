//! Looking: pods page by page, what each has injected, to whom it belongs, and what makes the next look due. Decides and
//! changes nothing.

pub mod detect;
pub mod injected;
pub mod mesh;
pub mod newcomers;
pub mod owner;
pub mod scale;
pub mod survey;
pub mod sweep;
#[cfg(test)]
mod sweep_tests;
pub(crate) mod triggers;
pub(crate) mod workloads;
