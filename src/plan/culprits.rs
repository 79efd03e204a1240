//! Finds which of many values are to blame for what goes wrong with all of them, in few tries.
//!
//! Pure: a try is a function from a set of values to what goes wrong with these alone. How many tries there are does not
//! depend on how many values there are, because each costs a rendering.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

/// Up to this many values are tried one by one.
const ONE_BY_ONE: usize = 8;

/// How much a search may cost.
#[derive(Clone, Copy, Debug)]
struct Budget {
    /// Most tries that sort values by one bit of their number each. More values than these bits can count form groups.
    bits: u32,
    /// Most tries that confirm a suspicion.
    confirmations: usize,
}

impl Budget {
    /// Fewer tries where each takes longer.
    fn for_values(count: usize) -> Self {
        match count {
            0..=4_000 => Self { bits: 10, confirmations: 10 },
            4_001..=20_000 => Self { bits: 7, confirmations: 4 },
            _ => Self { bits: 4, confirmations: 2 },
        }
    }
}

/// A set of values and what goes wrong with it.
pub(super) type Culprit<K> = (Range<usize>, BTreeSet<K>);

/// The smallest sets of values that were found to do harm, and the harm that none of them does.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Found<K> {
    pub culprits: Vec<Culprit<K>>,
    pub unexplained: BTreeSet<K>,
}

/// Looks for the values, of `count`, to blame for each of `harms`, by about twenty tries at most.
///
/// Values are numbered, and each try takes those with a certain bit in their number: a harm of a single value shows in
/// the tries of exactly the bits of its number. Who is suspected that way is tried alone. What two values do only
/// together, or each by itself, points at the wrong one; then the shortest prefix that does it ends with one of them.
pub(super) fn find<K: Ord + Clone>(
    count: usize,
    harms: BTreeSet<K>,
    mut harm_of: impl FnMut(&[Range<usize>]) -> BTreeSet<K>,
) -> Found<K> {
    let budget = Budget::for_values(count);
    let groups = groups(count, budget);
    if count <= ONE_BY_ONE {
        return confirm(groups, harms, harm_of);
    }
    let mut numbers: BTreeMap<&K, usize> = harms.iter().map(|harm| (harm, 0)).collect();
    for bit in (0..budget.bits).map(|bit| 1 << bit).take_while(|bit| *bit <= groups.len()) {
        let chosen: Vec<Range<usize>> = (1..)
            .zip(&groups)
            .filter(|(number, _)| number & bit != 0)
            .map(|(_, group)| group.clone())
            .collect();
        let seen = harm_of(&chosen);
        for (_, number) in numbers.iter_mut().filter(|(harm, _)| seen.contains(*harm)) {
            *number |= bit;
        }
    }
    let suspects: BTreeSet<usize> =
        numbers.into_values().filter(|number| (1..=groups.len()).contains(number)).collect();
    // A search for what remains needs some of the tries.
    let suspects =
        suspects.into_iter().take(budget.confirmations).map(|number| groups[number - 1].clone()).collect();
    let mut tries = 0;
    let mut found = confirm(suspects, harms, |chosen| {
        tries += 1;
        harm_of(chosen)
    });
    if let Some(harm) = found.unexplained.first().cloned().filter(|_| tries <= budget.confirmations / 2) {
        let last = last_of_prefix(&groups, |chosen| harm_of(chosen).contains(&harm));
        let alone = last.map(|last| (last.clone(), harm_of(&[last])));
        if let Some((group, harms)) = alone.filter(|(_, harms)| harms.contains(&harm)) {
            found.unexplained.retain(|harm| !harms.contains(harm));
            found.culprits.push((group, harms));
        }
    }
    found
}

/// Groups of neighboring values, no more than can be numbered.
fn groups(count: usize, budget: Budget) -> Vec<Range<usize>> {
    let most = (1 << budget.bits) - 1;
    let size = count.div_ceil(most).max(1);
    (0..count).step_by(size).map(|start| start..(start + size).min(count)).collect()
}

/// Tries each suspect alone.
fn confirm<K: Ord + Clone>(
    suspects: Vec<Range<usize>>,
    mut unexplained: BTreeSet<K>,
    mut harm_of: impl FnMut(&[Range<usize>]) -> BTreeSet<K>,
) -> Found<K> {
    let mut culprits = Vec::new();
    for suspect in suspects {
        let harms = harm_of(std::slice::from_ref(&suspect));
        if !harms.is_empty() {
            unexplained.retain(|harm| !harms.contains(harm));
            culprits.push((suspect, harms));
        }
    }
    Found { culprits, unexplained }
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

    /// Harm is a number of a value, or 1000 if two values come together.
    fn find_in(count: usize, bad: &[usize], pair: Option<(usize, usize)>) -> (Found<usize>, usize) {
        let harm_of = |chosen: &[Range<usize>]| -> BTreeSet<usize> {
            let is_chosen = |value: &usize| chosen.iter().any(|group| group.contains(value));
            let both = pair.filter(|(a, b)| is_chosen(a) && is_chosen(b)).map(|_| 1_000_000);
            bad.iter().copied().filter(is_chosen).chain(both).collect()
        };
        let mut tries = 0;
        let all = 0..count;
        let found = find(count, harm_of(std::slice::from_ref(&all)), |chosen| {
            tries += 1;
            harm_of(chosen)
        });
        (found, tries)
    }

    #[test]
    fn single_culprits_are_found_in_few_tries() {
        for (count, bad) in [
            (1, vec![0]),
            (8, vec![0, 3, 7]),
            (9, vec![0, 8]),
            (18, (1..10).collect()),
            (1000, vec![0, 1, 500, 999]),
            (1023, vec![1022]),
        ] {
            let (found, tries) = find_in(count, &bad, None);
            let culprits: Vec<_> = found.culprits.iter().map(|(group, _)| group.clone()).collect();
            assert_eq!(culprits, bad.iter().map(|value| *value..value + 1).collect::<Vec<_>>(), "{count}");
            assert!(found.unexplained.is_empty() && tries <= 21, "{count}: {tries}");
        }
    }

    #[test]
    fn the_number_of_tries_does_not_grow_with_the_number_of_values() {
        for (count, size) in [(2_000, 2), (10_000, 79), (100_000, 6_667)] {
            let (found, tries) = find_in(count, &[1234], None);
            assert!(found.culprits[0].0.contains(&1234) && found.culprits[0].0.len() <= size, "{found:?}");
            assert!(tries <= 21, "{tries}");
        }
    }

    #[test]
    fn what_several_values_do_together_is_not_blamed_on_one() {
        let (found, tries) = find_in(100, &[], Some((3, 77)));
        assert_eq!(found, Found { culprits: Vec::new(), unexplained: BTreeSet::from([1_000_000]) });
        assert!(tries <= 21, "{tries}");
    }

    #[test]
    fn one_of_two_values_with_the_same_harm_is_found() {
        let harm_of = |chosen: &[Range<usize>]| -> BTreeSet<&str> {
            let is_bad = [19, 44].iter().any(|value| chosen.iter().any(|group| group.contains(value)));
            is_bad.then_some("harm").into_iter().collect()
        };
        let found = find(100, BTreeSet::from(["harm"]), harm_of);
        assert_eq!(found.culprits, [(19..20, BTreeSet::from(["harm"]))]);
    }
}
