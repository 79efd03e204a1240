//! Snippets made by rule, judged by Helm: every function with arguments of every shape, `printf` with every verb, YAML,
//! regular expressions, versions, dates, and programs that share maps.
//!
//! A fixed seed chooses among them; `JUDGE_FULL=1` tries twenty times as many, `JUDGE_SEED` chooses others.

#![allow(clippy::unwrap_used, clippy::panic, reason = "helpers of tests fail by panicking, like the tests")]

#[path = "generated/functions.rs"]
mod functions;
mod judge;
mod oracle;
#[path = "generated/random.rs"]
mod random;
#[path = "generated/texts.rs"]
mod texts;

use oracle::Oracle;
use random::Random;

/// Judges what a rule makes; both outcomes must be among it, or the rule tries nothing.
fn assert_all_same_as_helm(topic: &str, snippets: Vec<String>, least_errors: usize) {
    let count = snippets.len();
    let comparison = judge::compare(&mut Oracle::start(), snippets);
    assert_eq!(comparison.count, count);
    assert!(count > 100, "only {count} snippets of {topic}");
    assert!(comparison.errors >= least_errors, "only {} errors in {topic}", comparison.errors);
    assert!(comparison.errors < count, "nothing but errors in {topic}");
    assert!(comparison.differences.is_empty(), "{topic}: {}", comparison.differences);
}

#[test]
fn functions_of_one_argument_are_helms() {
    assert_all_same_as_helm("functions of one argument", functions::of_one_argument(), 100);
}

#[test]
fn functions_of_several_arguments_are_helms() {
    assert_all_same_as_helm(
        "functions",
        functions::of_several_arguments(&mut Random::seeded(1), random::times(12)),
        100,
    );
}

#[test]
fn verbs_and_flags_print_as_in_go() {
    assert_all_same_as_helm("verbs", texts::verbs(&mut Random::seeded(2), random::times(2000)), 0);
}

#[test]
fn scalars_and_documents_of_yaml_are_read_and_written_as_in_helm() {
    assert_all_same_as_helm("YAML", texts::yaml(&mut Random::seeded(3), random::times(2500)), 0);
}

#[test]
fn expressions_match_as_in_go() {
    assert_all_same_as_helm(
        "regular expressions",
        texts::expressions(&mut Random::seeded(4), random::times(2000)),
        50,
    );
}

#[test]
fn versions_fit_constraints_as_in_helm() {
    assert_all_same_as_helm("versions", texts::versions(&mut Random::seeded(5), random::times(1500)), 50);
}

#[test]
fn dates_and_durations_are_gos() {
    assert_all_same_as_helm("dates", texts::dates(&mut Random::seeded(6), random::times(1500)), 10);
}

#[test]
fn maps_are_shared_as_in_go() {
    assert_all_same_as_helm("sharing", functions::sharing(&mut Random::seeded(7), random::times(1000)), 1);
}

#[test]
fn the_language_is_gos() {
    assert_all_same_as_helm(
        "the language",
        texts::language(&mut Random::seeded(8), random::times(3000)),
        100,
    );
}
