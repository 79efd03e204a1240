//! The test bed itself: it starts and answers.

use std::error::Error;

use k8s_openapi::api::core::v1::Namespace;
use kube::api::{Api, ListParams};

fn main() -> Result<(), Box<dyn Error>> {
    testbed::namespace::enter()?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let control_plane = testbed::ControlPlane::start(&testbed::Options::default()).await?;
        let namespaces: Api<Namespace> = Api::all(control_plane.client());
        let found = namespaces.list(&ListParams::default()).await?;
        assert!(found.iter().any(|namespace| namespace.metadata.name.as_deref() == Some("kube-system")));
        Ok(())
    })
}
