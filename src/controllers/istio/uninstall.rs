//! The reconcile of a resource that is being deleted: removes Istio, then releases the resource.

use kube::ResourceExt;

use super::Operator;
use super::metadata::{MetadataWriter, has_finalizer};
use super::outcome::{ReconcileOutcome, single_condition_report};
use super::reconcile::Error;
use crate::api::Istio;
use crate::api::conditions::{Reason, State};
use crate::dataplane::restart::uninstall_restarts::UninstallRestarts;
use crate::messages;
use crate::status::Progress;
use crate::uninstall::{self, DELETION_POLICY_ANNOTATION, ORPHAN, UninstallOutcome, Uninstaller, blockers};
use crate::validate::ValidatedRestarter;

/// Removes Istio, unless the deletion policy keeps it or resources of users would be lost.
pub(super) async fn uninstall(
    operator: &Operator,
    resource: &Istio,
    progress: &Progress,
) -> Result<ReconcileOutcome, Error> {
    if !has_finalizer(resource) {
        return Ok(ReconcileOutcome::Released);
    }
    operator.drift.stop();
    if resource.annotations().get(DELETION_POLICY_ANNOTATION).is_some_and(|policy| policy == ORPHAN) {
        finish_and_flush(progress, messages::orphaned(DELETION_POLICY_ANNOTATION, ORPHAN)).await;
        return release(operator, resource).await;
    }
    let uninstaller = uninstaller(operator, resource, progress);
    loop {
        let inventory = uninstaller.store.load().await.map_err(uninstall::Error::from)?;
        match uninstaller.uninstall(inventory).await? {
            UninstallOutcome::Blocked(found) => {
                progress.finish(single_condition_report(
                    State::Warning,
                    Reason::IstioCustomResourcesDangling,
                    messages::deletion_blocked(&found),
                ));
                blockers::wait_until_one_gone(&uninstaller.client, &found).await;
            }
            UninstallOutcome::NotGone { step, remaining } => {
                return Ok(ReconcileOutcome::NotGone { step, remaining });
            }
            UninstallOutcome::Removed(remaining) => {
                if let Some(text) = remaining.describe() {
                    finish_and_flush(progress, text).await;
                }
                operator.remembered_facts.delete().await?;
                operator.gauges.reset();
                return release(operator, resource).await;
            }
        }
    }
}

/// Releases a resource that is being deleted and has nothing to clean up.
pub(super) async fn release(operator: &Operator, resource: &Istio) -> Result<ReconcileOutcome, Error> {
    MetadataWriter::new(&operator.context.client, resource).remove_finalizer().await?;
    Ok(ReconcileOutcome::Released)
}

/// Writes the last status of a resource while it still exists.
async fn finish_and_flush(progress: &Progress, text: String) {
    tracing::warn!("{text}");
    progress.finish(single_condition_report(State::Deleting, Reason::IstioUninstallSucceeded, text));
    progress.flush().await;
}

fn uninstaller(operator: &Operator, resource: &Istio, progress: &Progress) -> Uninstaller {
    let settings = &operator.context.settings;
    // Not validated: an invalid spec must not block the removal.
    let restarter = ValidatedRestarter::clamped(resource.spec.restarter.as_ref());
    Uninstaller {
        client: operator.context.client.clone(),
        account: operator.context.account.clone(),
        store: operator.inventory(),
        deadline: settings.install_timeout,
        progress: progress.clone(),
        data_plane: UninstallRestarts {
            client: operator.context.client.clone(),
            namespace: operator.context.operator_namespace.clone(),
            identity: operator.context.identity.clone(),
            uid: resource.uid().unwrap_or_default(),
            settings: restarter.with_report_only(settings.report_restarts_only),
            deadline: settings.install_timeout,
        },
    }
}
