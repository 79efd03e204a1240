//! A proxy in front of the API server that loses some of the requests, as networks and busy servers do.
//!
//! It passes requests on as they are, with the token of whoever asks. Which requests fail follows from a seed, so that a
//! run can be repeated.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use axum::body::{Body, to_bytes};
use axum::extract::{Request, State};
use axum::http::{HeaderValue, Method, Response, StatusCode, header};
use axum::response::IntoResponse;
use futures::StreamExt;
use kube::Client;
use kube::config::{KubeConfigOptions, Kubeconfig};
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::kubeconfig::{self, KubeconfigError};
use crate::trap::{HeldAnswer, Trap, Traps};

/// Larger than any object that the API server takes.
const BODY_LIMIT: usize = 8 << 20;
/// How long an answer is held back that counts as lost.
const LOST_ANSWER_DELAY: Duration = Duration::from_secs(2);

/// Why there is no proxy.
#[derive(Debug, thiserror::Error)]
pub enum FaultProxyError {
    /// No port could be had.
    #[error("the fault proxy cannot listen")]
    Listen(#[source] std::io::Error),
    /// The client behind it could not be made.
    #[error(transparent)]
    Kubeconfig(#[from] KubeconfigError),
    /// Another write was waited for before this one came.
    #[error("no {what} was caught")]
    NotCaught {
        /// Method and part of the path.
        what: String,
    },
}

/// In which way a request is lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fault {
    /// The API server never sees it.
    Refused(StatusCode),
    /// The API server does it, but the answer is lost.
    AnswerLost,
}

/// A running proxy; it ends when this is dropped.
#[derive(Debug)]
pub struct FaultProxy {
    shared: Arc<Shared>,
    address: SocketAddr,
    server: JoinHandle<()>,
}

#[derive(Debug)]
struct Shared {
    /// Faults in a thousand requests.
    rate: AtomicU32,
    cut: AtomicBool,
    streams_no_lists: AtomicBool,
    expires_page: AtomicBool,
    random: AtomicU64,
    injected: AtomicUsize,
    traps: Traps,
    /// Parts of the addresses of reads that fail.
    failing: watch::Sender<Vec<String>>,
}

#[derive(Clone)]
struct Forward {
    client: Client,
    shared: Arc<Shared>,
}

impl FaultProxy {
    /// Starts a proxy to the API server that the file at `kubeconfig` names, which loses no request yet.
    pub async fn start(kubeconfig: &Path, seed: u64) -> Result<Self, FaultProxyError> {
        Self::before(anonymous(kubeconfig).await?, seed).await
    }

    /// As [`Self::start`], but for whom the file names: Go's clients keep their tokens to themselves where they meet no TLS.
    pub async fn start_for(kubeconfig: &Path, seed: u64) -> Result<Self, FaultProxyError> {
        Self::before(kubeconfig::client(kubeconfig).await?, seed).await
    }

    async fn before(client: Client, seed: u64) -> Result<Self, FaultProxyError> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.map_err(FaultProxyError::Listen)?;
        let address = listener.local_addr().map_err(FaultProxyError::Listen)?;
        let shared = Arc::new(Shared {
            rate: AtomicU32::new(0),
            cut: AtomicBool::new(false),
            streams_no_lists: AtomicBool::new(false),
            expires_page: AtomicBool::new(false),
            random: AtomicU64::new(seed),
            injected: AtomicUsize::new(0),
            traps: Traps::default(),
            failing: watch::Sender::default(),
        });
        let forward = Forward { client, shared: shared.clone() };
        let router = axum::Router::new().fallback(handle).with_state(forward);
        let server = tokio::spawn(async move {
            // It ends with the runtime or with the proxy; nobody is left to be told of an error.
            let _ended = axum::serve(listener, router).await;
        });
        Ok(Self { shared, address, server })
    }

    /// From now on loses so many of a thousand requests, but none about Leases: who leads is another matter.
    pub fn lose(&self, of_a_thousand: u32) {
        self.shared.rate.store(of_a_thousand, Ordering::Relaxed);
    }

    /// Lets nothing through at all, Leases included, until it is joined again.
    pub fn cut(&self, cut: bool) {
        self.shared.cut.store(cut, Ordering::Relaxed);
    }

    /// Lets the next write with `method` and `path` in its path reach the API server, and holds its answer back as long as
    /// the returned value lives.
    #[must_use]
    pub fn hold_answer(&self, method: Method, path: &str) -> HeldAnswer {
        self.shared.traps.set(method, path)
    }

    /// From now on fails all reads whose address has one of `parts` in it, and ends those that are under way.
    pub fn fail_reads(&self, parts: &[&str]) {
        self.shared.failing.send_replace(parts.iter().map(|part| (*part).to_owned()).collect());
    }

    /// From now on refuses watches that begin with a list, as API servers do that cannot stream lists.
    pub fn stream_no_lists(&self) {
        self.shared.streams_no_lists.store(true, Ordering::Relaxed);
    }

    /// Refuses the next page of pods that is not a first one, as an API server does that has forgotten the list.
    pub fn expire_page_of_pods(&self) {
        self.shared.expires_page.store(true, Ordering::Relaxed);
    }

    /// How many requests were lost so far.
    #[must_use]
    pub fn lost_requests(&self) -> usize {
        self.shared.injected.load(Ordering::Relaxed)
    }

    /// A copy of a kubeconfig file that leads through this proxy.
    pub fn kubeconfig(&self, original: &Path) -> Result<PathBuf, std::io::Error> {
        kubeconfig::with_server(original, &self.server())
    }

    /// Its address.
    pub(crate) fn server(&self) -> String {
        format!("http://{}", self.address)
    }
}

impl Drop for FaultProxy {
    fn drop(&mut self) {
        self.server.abort();
    }
}

/// A client without a name of its own: the requests bring their tokens.
async fn anonymous(path: &Path) -> Result<Client, KubeconfigError> {
    let read = |source| KubeconfigError::Read { path: path.into(), source: Box::new(source) };
    let mut kubeconfig = Kubeconfig::read_from(path).map_err(read)?;
    for user in &mut kubeconfig.auth_infos {
        user.auth_info = None;
    }
    let options = KubeConfigOptions::default();
    let config = kube::Config::from_custom_kubeconfig(kubeconfig, &options).await.map_err(read)?;
    Client::try_from(config)
        .map_err(|source| KubeconfigError::Client { path: path.into(), source: Box::new(source) })
}

async fn handle(State(forward): State<Forward>, request: Request) -> Response<Body> {
    if forward.shared.cut.load(Ordering::Relaxed) {
        tokio::time::sleep(LOST_ANSWER_DELAY).await;
        return StatusCode::BAD_GATEWAY.into_response();
    }
    let asks_for_stream = request.uri().query().is_some_and(|query| query.contains("sendInitialEvents=true"));
    if asks_for_stream && forward.shared.streams_no_lists.load(Ordering::Relaxed) {
        return refusal(StatusCode::UNPROCESSABLE_ENTITY);
    }
    let address = (*request.method() == Method::GET).then(|| request.uri().to_string());
    if address.as_deref().is_some_and(|address| is_named(&forward.shared.failing.borrow(), address)) {
        return refusal(StatusCode::INTERNAL_SERVER_ERROR);
    }
    if forward.shared.expires(&request) {
        return refusal(StatusCode::GONE);
    }
    let fault = forward.shared.draw(request.uri().path(), request.method());
    if let Some(Fault::Refused(code)) = fault {
        return refusal(code);
    }
    let answer = match forward.shared.traps.spring(request.method(), request.uri()) {
        Some(trap) => pass_on_and_hold_answer(forward.client, request, trap).await,
        None => pass_on(&forward.client, request).await,
    };
    if fault == Some(Fault::AnswerLost) {
        tokio::time::sleep(LOST_ANSWER_DELAY).await;
        return refusal(StatusCode::GATEWAY_TIMEOUT);
    }
    let answer = answer.unwrap_or_else(|_| refusal(StatusCode::BAD_GATEWAY));
    match address {
        Some(address) => until_it_fails(answer, address, forward.shared.failing.subscribe()),
        None => answer,
    }
}

fn is_named(parts: &[String], address: &str) -> bool {
    parts.iter().any(|part| address.contains(part))
}

/// The answer, which ends when reads of its address begin to fail.
fn until_it_fails(
    answer: Response<Body>,
    address: String,
    mut failing: watch::Receiver<Vec<String>>,
) -> Response<Body> {
    let failure = async move {
        if failing.wait_for(|parts| is_named(parts, &address)).await.is_err() {
            std::future::pending::<()>().await;
        }
    };
    answer.map(|body| Body::from_stream(body.into_data_stream().take_until(Box::pin(failure))))
}

type Passed = Result<Response<Body>, Box<dyn std::error::Error + Send + Sync>>;

/// Passes a write on that was waited for, and holds its answer. The API server does it also if whoever asked gives up
/// meanwhile, and so does this.
async fn pass_on_and_hold_answer(client: Client, request: Request, trap: Trap) -> Passed {
    let passing = tokio::spawn(async move {
        let answer = pass_on(&client, request).await;
        trap.hold_answer().await;
        answer
    });
    passing.await?
}

async fn pass_on(client: &Client, request: Request) -> Passed {
    let (parts, body) = request.into_parts();
    let body = to_bytes(body, BODY_LIMIT).await?;
    let mut onward = axum::http::Request::from_parts(parts, kube::client::Body::from(body.to_vec()));
    // The address of the proxy; the client sets that of the API server.
    onward.headers_mut().remove(header::HOST);
    let path = onward.uri().path_and_query().map_or("/", |path| path.as_str()).parse()?;
    *onward.uri_mut() = path;
    Ok(client.send(onward).await?.map(Body::new))
}

/// What an API server says when it says anything: a Status, so that clients see an error of the API.
fn refusal(code: StatusCode) -> Response<Body> {
    let reason = match code {
        StatusCode::CONFLICT => "Conflict",
        StatusCode::TOO_MANY_REQUESTS => "TooManyRequests",
        StatusCode::INTERNAL_SERVER_ERROR => "InternalError",
        StatusCode::UNPROCESSABLE_ENTITY => "Invalid",
        StatusCode::GONE => "Expired",
        _ => "Timeout",
    };
    let status = serde_json::json!({"kind": "Status", "apiVersion": "v1", "status": "Failure", "reason": reason,
        "message": format!("injected fault {code}"), "code": code.as_u16()});
    let mut response = (code, status.to_string()).into_response();
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}

impl Shared {
    fn expires(&self, request: &Request) -> bool {
        let goes_on = request.uri().query().is_some_and(|query| query.contains("continue="));
        let expires = request.uri().path() == "/api/v1/pods"
            && goes_on
            && self.expires_page.swap(false, Ordering::Relaxed);
        self.injected.fetch_add(usize::from(expires), Ordering::Relaxed);
        expires
    }

    fn draw(&self, path: &str, method: &Method) -> Option<Fault> {
        if path.contains("/leases") {
            return None;
        }
        let random = self.next();
        if random % 1000 >= u64::from(self.rate.load(Ordering::Relaxed)) {
            return None;
        }
        self.injected.fetch_add(1, Ordering::Relaxed);
        Some(match (random / 1000) % 4 {
            // Nobody answers a question with a conflict.
            0 if *method != Method::GET => Fault::Refused(StatusCode::CONFLICT),
            0 | 1 => Fault::Refused(StatusCode::TOO_MANY_REQUESTS),
            2 => Fault::Refused(StatusCode::INTERNAL_SERVER_ERROR),
            _ => Fault::AnswerLost,
        })
    }

    /// `SplitMix64`, which is all the randomness that is needed here.
    fn next(&self) -> u64 {
        const STEP: u64 = 0x9E37_79B9_7F4A_7C15;
        let state = self.random.fetch_add(STEP, Ordering::Relaxed).wrapping_add(STEP);
        let mixed = (state ^ (state >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ (mixed >> 31)
    }
}

#[cfg(test)]
mod tests {
    use tokio::sync::Notify;

    use super::*;

    fn shared(rate: u32) -> Shared {
        Shared {
            rate: AtomicU32::new(rate),
            cut: AtomicBool::new(false),
            streams_no_lists: AtomicBool::new(false),
            expires_page: AtomicBool::new(false),
            random: AtomicU64::new(7),
            injected: AtomicUsize::new(0),
            traps: Traps::default(),
            failing: watch::Sender::default(),
        }
    }

    #[tokio::test]
    async fn an_awaited_write_is_caught_even_if_its_client_gives_up() {
        let (requested, answers) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
        let (begins, may_end) = (requested.clone(), answers.clone());
        let api_server = tower::service_fn(move |_: axum::http::Request<kube::client::Body>| {
            let (begins, may_end) = (begins.clone(), may_end.clone());
            async move {
                begins.notify_one();
                may_end.notified().await;
                Ok::<_, std::convert::Infallible>(Response::new(kube::client::Body::empty()))
            }
        });
        let forward = Forward { client: Client::new(api_server, "default"), shared: Arc::new(shared(0)) };
        let mut answer = forward.shared.traps.set(Method::PATCH, "/istios/");
        let request = Request::builder().method(Method::PATCH).uri("/istios/default").body(Body::empty());
        tokio::select! {
            _ = handle(State(forward), request.unwrap()) => panic!("it was answered"),
            () = requested.notified() => {}
        }
        answers.notify_one();
        answer.caught().await.unwrap();
    }

    #[test]
    fn a_tenth_of_the_requests_is_lost_in_every_way() {
        let shared = shared(100);
        let faults: Vec<Fault> =
            (0..10_000).filter_map(|_| shared.draw("/api/v1/nodes", &Method::PATCH)).collect();
        assert!((900..1100).contains(&faults.len()), "{}", faults.len());
        assert_eq!(faults.len(), shared.injected.load(Ordering::Relaxed));
        for way in [
            Fault::Refused(StatusCode::CONFLICT),
            Fault::Refused(StatusCode::TOO_MANY_REQUESTS),
            Fault::Refused(StatusCode::INTERNAL_SERVER_ERROR),
            Fault::AnswerLost,
        ] {
            assert!(faults.iter().filter(|fault| **fault == way).count() > 150, "{way:?}");
        }
    }

    #[test]
    fn leases_are_never_lost() {
        let shared = shared(1000);
        assert_eq!(shared.draw("/apis/coordination.k8s.io/v1/namespaces/a/leases/b", &Method::PUT), None);
    }
}
