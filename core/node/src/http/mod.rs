//! The control plane over HTTP: one listener on a thread of its own.
//!
//! For: `/metrics`, `/rpc`, `/healthz`, `/ready`, `/version`, `/live` and the status page `/`.
//! Not here: what the answers hold (`metrics.rs`, `rpc.rs`), signals (`control.rs`).
//! Invariants: shards never wait for this thread; connections, requests and bodies are bounded in
//! number, size and time.

mod ask;
mod commands;
mod dump;
mod listing;
mod live;
mod merge;
mod metrics;
mod page;
mod paging;
mod process;
mod rpc;
mod settings;
mod statistics;
mod status;

pub use listing::table as command_table;
pub use settings::{ControlListen, ControlSettings};

use crate::control::Order;
use crate::log;
use crate::node::Running;
use crate::storage::Storage;
use crate::trace::Tracer;
use ask::Shards;
use axum::Router;
use axum::body::Bytes;
use axum::extract::{DefaultBodyLimit, Request, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use commands::Node;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use page::Format;
use process::Process;
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, mpsc};
use std::time::{Duration, Instant};
use strowger_sip::module::MetricNote;
use subtle::ConstantTimeEq;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, UnixListener};
use tokio::sync::Semaphore;

/// Connections at one time; more wait in the kernel's queue.
const CONNECTIONS_MAX: usize = 64;
/// A request's body; a command with all its arguments is far smaller.
const BODY_BYTES_MAX: usize = 1 << 20;
/// How long a peer may take for the head of a request.
const HEAD_WITHIN: Duration = Duration::from_secs(10);
/// How long a connection may last, whatever it does; scrapers open new ones.
const CONNECTION_WITHIN: Duration = Duration::from_secs(300);
/// How long to wait after an error of accepting, for example too many open files.
const ACCEPT_AGAIN: Duration = Duration::from_millis(100);

/// What handlers work with.
#[derive(Debug)]
struct Plane {
    node: Node,
    token: Option<String>,
    compat_names: bool,
}

/// What the control plane is told of the node.
#[derive(Clone, Debug)]
pub struct Facts {
    /// Names by which the node is known beside its addresses.
    pub aliases: Vec<String>,
    /// Where orders to the node go.
    pub orders: mpsc::Sender<Order>,
}

/// Starts the thread; says where it listens, ports filled in.
///
/// # Errors
/// When the address cannot be had.
pub fn start(running: &Running, settings: &ControlSettings, facts: Facts) -> io::Result<String> {
    let node = Node {
        shards: Shards::new(&running.desks),
        counter: running.storage.as_ref().map(Storage::counter),
        since: Instant::now(),
        notes: Arc::clone(&running.notes),
        listeners: running.listeners.clone(),
        aliases: facts.aliases.into(),
        orders: facts.orders,
        reload: running.reload.clone(),
        tracer: Tracer::new(&running.desks),
        resets: Arc::default(),
    };
    let (token, compat_names) = (settings.token.clone(), settings.compat_names);
    let service = router(Plane { node, token, compat_names });
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let (place, door) = {
        let _inside = runtime.enter();
        bind(&settings.listen)?
    };
    std::thread::Builder::new().name("control".to_owned()).spawn(move || {
        runtime.block_on(serve(door, service));
    })?;
    Ok(place)
}

/// A listening socket.
enum Door {
    Tcp(TcpListener),
    Unix(UnixListener),
}

fn bind(listen: &ControlListen) -> io::Result<(String, Door)> {
    match listen {
        ControlListen::Address(address) => {
            let listener = std::net::TcpListener::bind(address)?;
            listener.set_nonblocking(true)?;
            let bound: SocketAddr = listener.local_addr()?;
            Ok((format!("http://{bound}"), Door::Tcp(TcpListener::from_std(listener)?)))
        }
        ControlListen::Unix(path) => {
            // What an earlier process left behind; one that still listens loses nothing but its
            // name.
            let _ = std::fs::remove_file(path);
            let listener = UnixListener::bind(path)?;
            Ok((format!("unix:{}", path.display()), Door::Unix(listener)))
        }
    }
}

async fn serve(door: Door, service: Router) {
    let places = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    loop {
        // The semaphore is never closed.
        let Ok(place) = Arc::clone(&places).acquire_owned().await else { return };
        let service = service.clone();
        match &door {
            Door::Tcp(listener) => match listener.accept().await {
                Ok((stream, _)) => drop(tokio::spawn(async move {
                    connection(stream, service).await;
                    drop(place);
                })),
                Err(_) => tokio::time::sleep(ACCEPT_AGAIN).await,
            },
            Door::Unix(listener) => match listener.accept().await {
                Ok((stream, _)) => drop(tokio::spawn(async move {
                    connection(stream, service).await;
                    drop(place);
                })),
                Err(_) => tokio::time::sleep(ACCEPT_AGAIN).await,
            },
        }
    }
}

async fn connection(stream: impl AsyncRead + AsyncWrite + Unpin, service: Router) {
    let mut http = http1::Builder::new();
    http.timer(TokioTimer::new()).header_read_timeout(HEAD_WITHIN);
    let served = http.serve_connection(TokioIo::new(stream), TowerToHyperService::new(service));
    // A peer that breaks off, or takes too long, is of no interest to anybody.
    let _ = tokio::time::timeout(CONNECTION_WITHIN, served).await;
}

fn router(plane: Plane) -> Router {
    let plane = Arc::new(plane);
    Router::new()
        .route("/metrics", get(metrics))
        .route("/rpc", post(rpc))
        .route("/RPC", post(rpc))
        .route("/ready", get(ready))
        .route("/live", get(status::live))
        .layer(middleware::from_fn_with_state(Arc::clone(&plane), authorize))
        .layer(middleware::from_fn_with_state(Arc::clone(&plane), same_origin))
        .route("/", get(status::page))
        .route("/healthz", get(healthz))
        .route("/version", get(version))
        .layer(DefaultBodyLimit::max(BODY_BYTES_MAX))
        .with_state(plane)
}

/// Lets a request pass that brings the token, where there is one.
async fn authorize(
    State(plane): State<Arc<Plane>>,
    headers: HeaderMap,
    request: Request,
    next: Next,
) -> Response {
    let Some(token) = &plane.token else { return next.run(request).await };
    let brought = headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
    let brought = brought.and_then(|value| value.strip_prefix("Bearer ")).unwrap_or("");
    if bool::from(brought.as_bytes().ct_eq(token.as_bytes())) {
        return next.run(request).await;
    }
    (StatusCode::UNAUTHORIZED, [(header::WWW_AUTHENTICATE, "Bearer")], "a token is wanted\n")
        .into_response()
}

async fn metrics(State(plane): State<Arc<Plane>>, headers: HeaderMap) -> Response {
    let accept = headers.get(header::ACCEPT).and_then(|value| value.to_str().ok()).unwrap_or("");
    let format = Format::of(accept);
    let Some(shards) = plane.node.shards.report_shared().await else { return unanswered() };
    let counter = plane.node.counter.clone();
    let storage = tokio::task::spawn_blocking(move || counter?.summary()).await.ok().flatten();
    let source = metrics::Source {
        notes: &plane.node.notes,
        shards: &shards,
        storage: storage.as_ref(),
        process: &Process::read(),
        uptime: plane.node.since.elapsed(),
        own: &own_counts(&plane.node),
    };
    let page = metrics::page(&source, plane.compat_names, format);
    ([(header::CONTENT_TYPE, format.content_type())], page).into_response()
}

/// Refuses what another site's page has a browser ask for: on loopback there may be no token.
/// A name of theirs that leads here is as little good as an origin of theirs.
async fn same_origin(
    State(plane): State<Arc<Plane>>,
    headers: HeaderMap,
    request: Request,
    next: Next,
) -> Response {
    let text = |name| headers.get(name).and_then(|value| value.to_str().ok());
    let host = text(header::HOST).unwrap_or("");
    let origin = text(header::ORIGIN);
    let is_own = origin
        .is_none_or(|origin| origin.split_once("://").map_or(origin, |(_, origin)| origin) == host);
    if is_own && (plane.token.is_some() || is_local(host)) {
        return next.run(request).await;
    }
    (StatusCode::FORBIDDEN, "not for pages of other sites\n").into_response()
}

/// Whether a Host header holds an address or a name of this network, and none of the world's.
fn is_local(host: &str) -> bool {
    let name = match host.rsplit_once(':') {
        Some((name, port)) if port.parse::<u16>().is_ok() => name,
        Some(_) | None => host,
    };
    let address = name.trim_start_matches('[').trim_end_matches(']');
    address.parse::<std::net::IpAddr>().is_ok() || !name.contains('.')
}

/// What the control plane counts of its own.
fn own_counts(node: &Node) -> Vec<(MetricNote, u64)> {
    let counts = node.tracer.counts();
    vec![
        (
            MetricNote::counter("log_lines_dropped", "Lines lost because the log was too slow."),
            log::dropped(),
        ),
        (MetricNote::counter("trace_logged", "Messages logged for a trace."), counts.logged),
        (MetricNote::counter("trace_mirrored", "Messages sent to a collector."), counts.mirrored),
        (MetricNote::counter("trace_captured", "Messages written to a file."), counts.captured),
        (
            MetricNote::counter("trace_lost", "Messages that a mirror or a file did not take."),
            counts.lost,
        ),
    ]
}

async fn rpc(State(plane): State<Arc<Plane>>, body: Bytes) -> Response {
    let (status, body) = rpc::answer(&plane.node, &body).await;
    let status = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    (status, [(header::CONTENT_TYPE, "application/json")], body).into_response()
}

/// Whether every shard still turns.
async fn healthz(State(plane): State<Arc<Plane>>) -> Response {
    match plane.node.shards.report_shared().await {
        Some(_) => "ok\n".into_response(),
        None => unanswered(),
    }
}

/// Whether new calls are taken.
async fn ready(State(plane): State<Arc<Plane>>) -> Response {
    match plane.node.shards.report_shared().await {
        Some(shards) if shards.iter().any(|shard| shard.draining) => {
            (StatusCode::SERVICE_UNAVAILABLE, "draining\n").into_response()
        }
        Some(_) => "ready\n".into_response(),
        None => unanswered(),
    }
}

async fn version() -> Response {
    concat!("strowger ", env!("CARGO_PKG_VERSION"), "\n").into_response()
}

fn unanswered() -> Response {
    (StatusCode::SERVICE_UNAVAILABLE, "a shard does not answer\n").into_response()
}

#[cfg(test)]
mod tests {
    use super::is_local;

    #[test]
    fn names_of_the_world_are_not_local() {
        for good in ["127.0.0.1:9494", "[::1]:9494", "localhost", "proxy1:9494", ""] {
            assert!(is_local(good), "{good}");
        }
        assert!(!is_local("evil.example.com:9494") && !is_local("evil.example.com"));
    }
}
