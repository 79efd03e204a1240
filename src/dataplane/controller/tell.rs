//! Telling people: the status of the resource, and Events on workloads that need somebody.

use std::collections::HashSet;

use super::{Controller, Ground};
use crate::dataplane::decide::finding::{Decision, Finding, Hindrance, Weight};
use crate::dataplane::decide::found::Survey;
use crate::dataplane::decide::pace::Progress;
use crate::dataplane::tell::report;

impl Controller {
    /// Tells owners what they have to do. Not right after a start what was told before: on a settled mesh everything, else what
    /// the status lists.
    pub(super) async fn announce(&mut self, ground: &Ground, survey: &Survey, settled: bool) {
        const AT_ONCE: usize = 50;
        let manual = |(finding, decision): &(Finding, Decision)| match decision {
            Decision::Hold(why) if why.weight() == Weight::Manual && *why != Hindrance::WaveHeld => Some((
                format!("{} {} {}", finding.uid, finding.target, why.name()),
                finding.clone(),
                why.clone(),
            )),
            _ => None,
        };
        let all: Vec<_> = survey.decisions.iter().filter_map(manual).collect();
        let keys: HashSet<String> = all.iter().map(|(key, _, _)| key.clone()).collect();
        let known = self.told.take();
        if known.is_some() || !settled {
            let before = ground.resource.status.as_ref().and_then(|status| status.data_plane.as_ref());
            let listed = before.filter(|_| known.is_none()).map_or(&[][..], |before| &before.leftovers);
            let known = known.unwrap_or_default();
            let is_new = |(key, finding, why): &&(String, Finding, Hindrance)| {
                !known.contains(key) && !listed.contains(&report::leftover(finding, why))
            };
            for (_, finding, why) in all.iter().filter(is_new).take(AT_ONCE) {
                self.events.required(finding, why).await;
            }
        }
        self.told = Some(keys);
    }

    /// Says in the status what was found.
    pub(super) fn tell(&mut self, ground: &Ground, survey: &Survey, held: Option<&str>) {
        let mut part = report::report(survey, &Progress::default(), held);
        let before = ground.resource.status.as_ref().and_then(|status| status.data_plane.as_ref());
        part.status.done = match self.done {
            Some(done) => i64::try_from(done).unwrap_or(i64::MAX),
            // The last wave was that of a process before this one.
            None => before.map_or(0, |before| before.done),
        };
        self.last = part.status.clone();
        ground.reporter.data_plane(part);
    }
}
