//! Runs the shim on a thread of its own, so that a test that blocks its thread (in `helm --wait`, say) does not stop
//! istiod pods from becoming ready.

use std::io;
use std::path::PathBuf;
use std::thread::JoinHandle;

use tokio::sync::oneshot;

use crate::cluster::{Cluster, ClusterError};
use crate::control_plane::kubeconfig_file;
use crate::istiod;
use crate::kubeconfig;
use crate::pki::Identity;
use crate::tools::Tools;

/// A running shim; it ends when this is dropped.
#[derive(Debug)]
pub(crate) struct ShimThread {
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl ShimThread {
    pub(crate) fn start(tools: Tools, dir: PathBuf) -> Result<Self, crate::StartError> {
        let (stop, stopped) = oneshot::channel();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let runtime = runtime.map_err(crate::StartError::Shim)?;
        let body = move || {
            runtime.block_on(async {
                tokio::select! {
                    result = serve(tools, dir) => if let Err(error) = result { eprintln!("testbed: no istiod will run: {error}") },
                    _ = stopped => {}
                }
            });
        };
        let thread = std::thread::Builder::new().name("istiod-shim".into()).spawn(body);
        let thread = thread.map_err(|error: io::Error| crate::StartError::Shim(error))?;
        Ok(Self { stop: Some(stop), thread: Some(thread) })
    }

    /// Ends every istiod and returns when the thread is gone.
    pub(crate) fn stop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            // A panic there was already printed.
            let _ended = thread.join();
        }
    }
}

impl Drop for ShimThread {
    fn drop(&mut self) {
        self.stop();
    }
}

async fn serve(tools: Tools, dir: PathBuf) -> Result<(), ClusterError> {
    let kubelet = kubeconfig::client(&kubeconfig_file(&dir, Identity::Kubelets)).await?;
    let cluster = Cluster::attach_to(tools, dir).await?;
    istiod::run(cluster, kubelet).await;
    Ok(())
}
