//! Rejects a spec that is larger than the operator processes, before any other check reads it.

use super::{Problem, Problems};
use crate::api::bounds::Excess;

/// One problem for each field that exceeds its bounds.
pub(super) fn check(excess: &[Excess]) -> Problems {
    let problem = |Excess { field, bound }: &Excess| {
        let message = format!("the field has {bound}, which the operator does not process. Reduce it");
        Problem::warning(format!("spec.{field}"), message)
    };
    excess.iter().map(problem).collect()
}
