//! Calls istiod directly as an admission webhook: at the address of a ready pod, verified with the CA bundle that the API
//! server itself would use.

use http::Uri;
use k8s_openapi::ByteString;
use k8s_openapi::api::admissionregistration::v1::{MutatingWebhookConfiguration, WebhookClientConfig};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use kube::api::ListParams;
use kube::{Api, Client, Config};
use serde::Deserialize;
use serde_json::{Value, json};
use thiserror::Error;

use super::probe_pod::ProbePod;
use crate::dataplane::model::Pod;
use crate::kubernetes::endpoints;

/// istiod could not be called.
#[derive(Debug, Error)]
pub enum Error {
    /// No webhook configuration says where istiod is.
    #[error("no injector webhook configuration names a Service and a CA bundle")]
    NoWebhook,
    /// No pod of istiod is ready.
    #[error("Service {0} has no ready endpoint")]
    NoReadyEndpoint(String),
    /// A request to the API server failed.
    #[error("failed to find a ready istiod")]
    Find {
        /// The error of the request.
        #[from]
        source: kube::Error,
    },
    /// No client could be created.
    #[error("failed to create a client for istiod at {address}")]
    Connect {
        /// The address.
        address: String,
        /// The cause.
        source: Box<kube::Error>,
    },
    /// The request failed.
    #[error("request to istiod at {address} failed")]
    Request {
        /// The address.
        address: String,
        /// The cause.
        source: Box<kube::Error>,
    },
    /// istiod denied the admission.
    #[error("istiod denied the injection: {0}")]
    Denied(String),
    /// The response is not a patch of the pod.
    #[error("failed to apply the patch from istiod")]
    Patch {
        /// The cause.
        #[from]
        source: json_patch::PatchError,
    },
    /// Request or response are not valid JSON.
    #[error("failed to parse the response of istiod")]
    Read {
        /// The cause.
        #[from]
        source: serde_json::Error,
    },
}

/// The webhook configurations that inject by default, the one of the revision tag first.
const WEBHOOK_CONFIGURATIONS: [&str; 2] = ["istio-revision-tag-default", "istio-sidecar-injector"];

/// A ready istiod.
pub struct Injector {
    client: Client,
    address: String,
    path: String,
}

#[derive(Deserialize)]
struct AdmissionReview {
    response: Option<AdmissionResponse>,
}

#[derive(Deserialize)]
struct AdmissionResponse {
    #[serde(default)]
    allowed: bool,
    patch: Option<ByteString>,
    status: Option<Value>,
}

struct WebhookService {
    namespace: String,
    name: String,
    path: String,
    port: i32,
    ca_bundle: Vec<u8>,
}

impl Injector {
    /// Finds a ready istiod behind the injector webhook.
    pub async fn find(client: &Client) -> Result<Self, Error> {
        let service = find_webhook_service(client).await?;
        let host = find_ready_endpoint(client, &service).await?;
        let address = format!("https://{host}");
        let uri: Uri = address.parse().map_err(|_| Error::NoReadyEndpoint(service.name.clone()))?;
        let mut config = Config::new(uri);
        config.root_cert = Some(der_certificates(&service.ca_bundle));
        config.tls_server_name = Some(format!("{}.{}.svc", service.name, service.namespace));
        config.default_retry = false;
        let connect = |source| Error::Connect { address: address.clone(), source: Box::new(source) };
        let client = Client::try_from(config).map_err(connect)?;
        Ok(Self { client, address, path: service.path })
    }

    /// The pod after injection.
    pub async fn inject(&self, probe: &ProbePod) -> Result<Pod, Error> {
        let pod = serde_json::to_value(probe)?;
        let review = json!({
            "apiVersion": "admission.k8s.io/v1",
            "kind": "AdmissionReview",
            "request": {
                "uid": "00000000-0000-0000-0000-000000000000",
                "kind": {"group": "", "version": "v1", "kind": "Pod"},
                "resource": {"group": "", "version": "v1", "resource": "pods"},
                "namespace": probe.namespace(),
                "operation": "CREATE",
                "dryRun": true,
                "object": pod,
            },
        });
        let request_error =
            |source| Error::Request { address: self.address.clone(), source: Box::new(source) };
        let request = http::Request::post(&self.path)
            .header(http::header::CONTENT_TYPE, "application/json")
            .body(serde_json::to_vec(&review)?)
            .map_err(|source| request_error(kube::Error::HttpError(source)))?;
        let answer: AdmissionReview = self.client.request(request).await.map_err(request_error)?;
        apply_patch(pod, answer)
    }
}

fn apply_patch(mut pod: Value, answer: AdmissionReview) -> Result<Pod, Error> {
    let response = answer.response.ok_or_else(|| Error::Denied("empty response".to_owned()))?;
    if !response.allowed {
        let status = response.status.unwrap_or_default();
        return Err(Error::Denied(status["message"].as_str().unwrap_or("no reason given").to_owned()));
    }
    if let Some(ByteString(patch)) = response.patch {
        let patch: json_patch::Patch = serde_json::from_slice(&patch)?;
        json_patch::patch(&mut pod, &patch)?;
    }
    // Through text, because parts of the pod are kept as text.
    Ok(serde_json::from_str(&pod.to_string())?)
}

async fn find_webhook_service(client: &Client) -> Result<WebhookService, Error> {
    let api: Api<MutatingWebhookConfiguration> = Api::all(client.clone());
    for name in WEBHOOK_CONFIGURATIONS {
        let found = api.get_opt(name).await?;
        let webhooks = found.and_then(|found| found.webhooks).unwrap_or_default();
        if let Some(service) = webhooks.into_iter().find_map(|webhook| webhook_service(webhook.client_config))
        {
            return Ok(service);
        }
    }
    Err(Error::NoWebhook)
}

fn webhook_service(config: WebhookClientConfig) -> Option<WebhookService> {
    let (service, ByteString(authority)) = (config.service?, config.ca_bundle?);
    let path = service.path.unwrap_or_else(|| "/inject".to_owned());
    let port = service.port.unwrap_or(443);
    Some(WebhookService {
        namespace: service.namespace,
        name: service.name,
        path,
        port,
        ca_bundle: authority,
    })
}

/// `address:port` of a ready endpoint. The webhook names the port of the Service; the port of the endpoint has the same name.
async fn find_ready_endpoint(client: &Client, service: &WebhookService) -> Result<String, Error> {
    let services: Api<k8s_openapi::api::core::v1::Service> =
        Api::namespaced(client.clone(), &service.namespace);
    let ports = services.get(&service.name).await?.spec.and_then(|spec| spec.ports).unwrap_or_default();
    let port_name = ports.into_iter().find(|port| port.port == service.port).and_then(|port| port.name);
    let slices: Api<EndpointSlice> = Api::namespaced(client.clone(), &service.namespace);
    let params = ListParams::default().labels(&format!("kubernetes.io/service-name={}", service.name));
    for slice in slices.list(&params).await?.items {
        let ports = slice.ports.unwrap_or_default();
        let port = ports.into_iter().find(|port| port.name == port_name).and_then(|port| port.port);
        let ready = slice.endpoints.into_iter().flatten().find(|endpoint| {
            endpoints::is_ready(endpoint.conditions.as_ref().and_then(|conditions| conditions.ready))
        });
        if let (Some(port), Some(address)) =
            (port, ready.and_then(|endpoint| endpoint.addresses.into_iter().next()))
        {
            let host = if address.contains(':') { format!("[{address}]") } else { address };
            return Ok(format!("{host}:{port}"));
        }
    }
    Err(Error::NoReadyEndpoint(format!("{}/{}", service.namespace, service.name)))
}

/// The certificates of a PEM bundle in DER form; anything else is skipped.
fn der_certificates(pem: &[u8]) -> Vec<Vec<u8>> {
    let text = String::from_utf8_lossy(pem);
    let blocks = text.split("-----BEGIN CERTIFICATE-----").skip(1);
    blocks
        .filter_map(|block| {
            let body: String =
                block.split("-----END").next()?.chars().filter(|c| !c.is_whitespace()).collect();
            let decoded: ByteString = serde_json::from_value(Value::String(body)).ok()?;
            Some(decoded.0)
        })
        .collect()
}
