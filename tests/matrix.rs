//! Every kind of cluster with every setting gives a whole installation. Rendered offline; `accepted.rs` does it for every
//! combination.

// Helpers of tests, which clippy does not take for tests.
#![allow(clippy::unwrap_used)]

mod matrix_cases;

use matrix_cases::{pairwise, whole};

#[test]
fn every_pair_of_settings_gives_a_whole_installation() {
    for case in pairwise() {
        let planned = case.planned().unwrap_or_else(|error| panic!("{case:?}: {error}"));
        whole::check(&case, &planned);
    }
}
