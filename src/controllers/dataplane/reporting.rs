//! Telling people: the status of the resource, and Events on workloads that need somebody.

use std::collections::HashSet;

use super::{CycleContext, DataPlaneController};
use crate::dataplane::report::summary;
use crate::dataplane::schedule::scan_result::Assessment;
use crate::dataplane::schedule::stale_workload::{BlockReason, Decision, Severity, StaleWorkload};
use crate::dataplane::schedule::throttle::RestartProgress;

impl DataPlaneController {
    /// Tells owners what they have to do. Not right after a start what was told before: on a settled mesh everything, else what
    /// the status lists.
    pub(crate) async fn report_events(
        &mut self,
        context: &CycleContext,
        assessment: &Assessment,
        converged: bool,
    ) {
        const MAX_EVENTS: usize = 50;
        let manual = |(stale, decision): &(StaleWorkload, Decision)| match decision {
            Decision::Blocked(why)
                if why.severity() == Severity::ActionRequired && *why != BlockReason::WaveSuspended =>
            {
                Some((format!("{} {} {}", stale.uid, stale.target, why.name()), stale.clone(), why.clone()))
            }
            _ => None,
        };
        let all: Vec<_> = assessment.decisions.iter().filter_map(manual).collect();
        let keys: HashSet<String> = all.iter().map(|(key, _, _)| key.clone()).collect();
        let reported = self.reported.take();
        if reported.is_some() || !converged {
            let before = context.resource.status.as_ref().and_then(|status| status.data_plane.as_ref());
            let listed =
                before.filter(|_| reported.is_none()).map_or(&[][..], |before| &before.blocked_workloads);
            let reported = reported.unwrap_or_default();
            let is_new = |(key, stale, why): &&(String, StaleWorkload, BlockReason)| {
                !reported.contains(key) && !listed.contains(&summary::blocked_workload(stale, why))
            };
            for (_, stale, why) in all.iter().filter(is_new).take(MAX_EVENTS) {
                self.events.record_required(stale, why).await;
            }
        }
        self.reported = Some(keys);
    }

    /// Says in the status what was found.
    pub(crate) fn report_status(
        &mut self,
        context: &CycleContext,
        assessment: &Assessment,
        suspended: Option<&str>,
    ) {
        let mut report = summary::data_plane_report(assessment, &RestartProgress::default(), suspended);
        let before = context.resource.status.as_ref().and_then(|status| status.data_plane.as_ref());
        report.status.restarted = match self.last_wave_done {
            Some(done) => i64::try_from(done).unwrap_or(i64::MAX),
            // The last wave was that of a process before this one.
            None => before.map_or(0, |before| before.restarted),
        };
        self.last_status = report.status.clone();
        context.reporter.report_data_plane(report);
    }
}
