//! The status page `/`, and the stream `/live` that it draws.
//!
//! For: a browser, on a desk or a phone. The page holds nothing but itself; what it shows it asks
//! for, with the token where there is one.
//! Not here: what the stream says (`live.rs`).

use super::Plane;
use super::live;
use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::http::header;
use axum::response::{Html, IntoResponse, Response};
use futures_util::stream;
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

/// How often the stream says how things are.
const EVERY: Duration = Duration::from_secs(1);
/// Nothing from elsewhere, nothing around it.
const POLICY: &str = "default-src 'none'; connect-src 'self'; style-src 'unsafe-inline'; \
                      script-src 'unsafe-inline'; base-uri 'none'; frame-ancestors 'none'";

pub(super) async fn page() -> Response {
    let page = Html(include_str!("status.html"));
    let headers = [
        (header::CONTENT_SECURITY_POLICY, POLICY),
        (header::REFERRER_POLICY, "no-referrer"),
        (header::CACHE_CONTROL, "no-cache"),
    ];
    (headers, page).into_response()
}

/// Server-sent events: one at once, then one a second, until the connection has lasted long enough.
pub(super) async fn live(State(plane): State<Arc<Plane>>) -> Response {
    let events = stream::unfold((plane, true), |(plane, is_first)| async move {
        if !is_first {
            tokio::time::sleep(EVERY).await;
        }
        let shards = plane.node.shards.report_shared().await?;
        let event = format!("data: {}\n\n", live::snapshot(&plane.node, &shards));
        Some((Ok::<Bytes, Infallible>(event.into()), (plane, false)))
    });
    let headers =
        [(header::CONTENT_TYPE, "text/event-stream"), (header::CACHE_CONTROL, "no-store")];
    (headers, Body::from_stream(events)).into_response()
}
