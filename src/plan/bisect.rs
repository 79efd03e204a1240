//! Finds which of many values cause the failures of all of them, in few tries.
//!
//! Pure: a try is a function from a set of values to the failures of these alone. The number of tries does not grow with the
//! number of values, because each costs a rendering; a large set gets fewer tries, because each takes longer.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

/// Up to this many values are tried one by one.
const MAX_ONE_BY_ONE: usize = 8;

/// Up to this many values are found one by one; more are reported in groups.
const MAX_SINGLE: usize = 500;

/// How much a search may cost.
#[derive(Clone, Copy, Debug)]
struct SearchBudget {
    /// Most tries that sort values by one bit of their number each. More values than these bits can count form groups.
    bits: u32,
    /// Most tries that confirm a suspicion.
    confirmations: usize,
}

impl SearchBudget {
    /// Fewer tries where each takes longer.
    fn for_values(count: usize) -> Self {
        if count <= MAX_SINGLE {
            Self { bits: 10, confirmations: 10 }
        } else {
            Self { bits: 3, confirmations: 2 }
        }
    }
}

/// A set of values and its failures.
pub(super) type RejectedRange<K> = (Range<usize>, BTreeSet<K>);

/// The smallest sets of values that were found to fail, and the failures that none of them has.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct BisectResult<K> {
    pub rejected: Vec<RejectedRange<K>>,
    pub unexplained: BTreeSet<K>,
}

/// Finds the values, of `count`, that cause each of `failures`, by about twenty tries at most.
///
/// Values are numbered, and each try takes those with a certain bit in their number: the failure of a single value shows in
/// the tries of exactly the bits of its number. A candidate that is found this way is tried alone. A failure of two values
/// together, or of each by itself, gives the wrong candidate; then the shortest prefix that fails ends with one of them.
pub(super) fn bisect<K: Ord + Clone>(
    count: usize,
    failures: BTreeSet<K>,
    mut failures_of: impl FnMut(&[Range<usize>]) -> BTreeSet<K>,
) -> BisectResult<K> {
    let budget = SearchBudget::for_values(count);
    let groups = groups(count, budget);
    if count <= MAX_ONE_BY_ONE {
        return confirm(groups, failures, failures_of);
    }
    let mut numbers: BTreeMap<&K, usize> = failures.iter().map(|failure| (failure, 0)).collect();
    for bit in (0..budget.bits).map(|bit| 1 << bit).take_while(|bit| *bit <= groups.len()) {
        let chosen: Vec<Range<usize>> = (1..)
            .zip(&groups)
            .filter(|(number, _)| number & bit != 0)
            .map(|(_, group)| group.clone())
            .collect();
        let failed = failures_of(&chosen);
        for (_, number) in numbers.iter_mut().filter(|(failure, _)| failed.contains(*failure)) {
            *number |= bit;
        }
    }
    let candidates: BTreeSet<usize> =
        numbers.into_values().filter(|number| (1..=groups.len()).contains(number)).collect();
    // A search for what remains needs some of the tries.
    let candidates =
        candidates.into_iter().take(budget.confirmations).map(|number| groups[number - 1].clone()).collect();
    let mut tries = 0;
    let mut result = confirm(candidates, failures, |chosen| {
        tries += 1;
        failures_of(chosen)
    });
    if let Some(failure) = result.unexplained.first().cloned().filter(|_| tries <= budget.confirmations / 2) {
        let last = last_of_prefix(&groups, |chosen| failures_of(chosen).contains(&failure));
        let alone = last.map(|last| (last.clone(), failures_of(&[last])));
        if let Some((group, failures)) = alone.filter(|(_, failures)| failures.contains(&failure)) {
            result.unexplained.retain(|failure| !failures.contains(failure));
            result.rejected.push((group, failures));
        }
    }
    result
}

/// Groups of neighboring values, no more than can be numbered.
fn groups(count: usize, budget: SearchBudget) -> Vec<Range<usize>> {
    let most = (1 << budget.bits) - 1;
    let size = count.div_ceil(most).max(1);
    (0..count).step_by(size).map(|start| start..(start + size).min(count)).collect()
}

/// Tries each candidate alone.
fn confirm<K: Ord + Clone>(
    candidates: Vec<Range<usize>>,
    mut unexplained: BTreeSet<K>,
    mut failures_of: impl FnMut(&[Range<usize>]) -> BTreeSet<K>,
) -> BisectResult<K> {
    let mut rejected = Vec::new();
    for candidate in candidates {
        let failures = failures_of(std::slice::from_ref(&candidate));
        if !failures.is_empty() {
            unexplained.retain(|failure| !failures.contains(failure));
            rejected.push((candidate, failures));
        }
    }
    BisectResult { rejected, unexplained }
}

/// The last group of the shortest prefix that `is_bad`, given that all groups together are.
fn last_of_prefix(
    groups: &[Range<usize>],
    mut is_bad: impl FnMut(&[Range<usize>]) -> bool,
) -> Option<Range<usize>> {
    let (mut good, mut bad) = (0, groups.len());
    while bad - good > 1 {
        let middle = good.midpoint(bad);
        if is_bad(&groups[..middle]) { bad = middle } else { good = middle }
    }
    groups.get(bad.checked_sub(1)?).cloned()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A failure is the number of a value, or a million if two values come together.
    fn bisect_in(count: usize, bad: &[usize], pair: Option<(usize, usize)>) -> (BisectResult<usize>, usize) {
        let failures_of = |chosen: &[Range<usize>]| -> BTreeSet<usize> {
            let is_chosen = |value: &usize| chosen.iter().any(|group| group.contains(value));
            let both = pair.filter(|(a, b)| is_chosen(a) && is_chosen(b)).map(|_| 1_000_000);
            bad.iter().copied().filter(is_chosen).chain(both).collect()
        };
        let mut tries = 0;
        let all = 0..count;
        let result = bisect(count, failures_of(std::slice::from_ref(&all)), |chosen| {
            tries += 1;
            failures_of(chosen)
        });
        (result, tries)
    }

    #[test]
    fn single_rejected_values_are_found_in_few_tries() {
        for (count, bad) in [
            (1, vec![0]),
            (8, vec![0, 3, 7]),
            (9, vec![0, 8]),
            (18, (1..10).collect()),
            (500, vec![0, 1, 250, 499]),
            (499, vec![498]),
        ] {
            let (result, tries) = bisect_in(count, &bad, None);
            let rejected: Vec<_> = result.rejected.iter().map(|(group, _)| group.clone()).collect();
            assert_eq!(rejected, bad.iter().map(|value| *value..value + 1).collect::<Vec<_>>(), "{count}");
            assert!(result.unexplained.is_empty() && tries <= 21, "{count}: {tries}");
        }
    }

    #[test]
    fn the_number_of_tries_does_not_grow_with_the_number_of_values() {
        for (count, size) in [(2_000, 286), (5_000, 715)] {
            let (result, tries) = bisect_in(count, &[1234], None);
            assert!(result.rejected[0].0.contains(&1234) && result.rejected[0].0.len() <= size, "{result:?}");
            assert!(tries <= 6, "{tries}");
        }
    }

    #[test]
    fn a_failure_of_several_values_is_not_attributed_to_one() {
        let (result, tries) = bisect_in(100, &[], Some((3, 77)));
        assert_eq!(result, BisectResult { rejected: Vec::new(), unexplained: BTreeSet::from([1_000_000]) });
        assert!(tries <= 21, "{tries}");
    }

    #[test]
    fn one_of_two_values_with_the_same_failure_is_found() {
        let failures_of = |chosen: &[Range<usize>]| -> BTreeSet<&str> {
            let is_bad = [19, 44].iter().any(|value| chosen.iter().any(|group| group.contains(value)));
            is_bad.then_some("failure").into_iter().collect()
        };
        let result = bisect(100, BTreeSet::from(["failure"]), failures_of);
        assert_eq!(result.rejected, [(19..20, BTreeSet::from(["failure"]))]);
    }
}
