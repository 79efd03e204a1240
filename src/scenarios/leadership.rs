//! Only the leader writes.

use fake_apiserver::{Fault, Occurrence, RequestMatcher};
use serde_json::json;

use super::cluster::{scenario, write_of};
use crate::leader::Leadership;

#[test]
fn a_standby_does_nothing_until_it_leads() {
    scenario(async |cluster| {
        cluster.leadership.send_replace(Leadership::Standby { holder: None });
        cluster.create("default", json!({}));
        let operator = cluster.start();
        cluster.pass(600).await;
        assert!(cluster.server.requests().is_empty());
        cluster.leadership.send_replace(Leadership::Leading { until: None });
        cluster.until_state("Ready").await;
        operator.stop().await;
    });
}

#[test]
fn no_write_reaches_the_server_after_leadership_is_lost() {
    scenario(async |cluster| {
        let hold = cluster.server.fail(write_of("configmaps", "istio"), Occurrence::First(1), Fault::Hold);
        cluster.create("default", json!({}));
        let operator = cluster.start();
        cluster.until_held(&hold).await;
        cluster.leadership.send_replace(Leadership::Standby { holder: Some("another".to_owned()) });
        cluster.server.forget_requests();
        hold.release();
        cluster.pass(600).await;
        let writes = cluster.server.matching(&RequestMatcher::writes());
        assert!(
            writes.is_empty(),
            "{:?}",
            writes.iter().map(fake_apiserver::ApiRequest::summary).collect::<Vec<_>>()
        );
        cluster.leadership.send_replace(Leadership::Leading { until: None });
        cluster.until_state("Ready").await;
        operator.stop().await;
    });
}

#[test]
fn a_shutdown_ends_an_installation_that_waits() {
    scenario(async |cluster| {
        let hold = cluster.server.fail(write_of("deployments", "istiod"), Occurrence::First(1), Fault::Hold);
        cluster.create("default", json!({}));
        let operator = cluster.start();
        cluster.until_held(&hold).await;
        operator.stop().await;
    });
}
