//! Requests of our own, sent by a routing and awaited: what Kamailio calls `t_uac`.
//!
//! For: a notification, a health check, any request outside of a dialog, with its final answer.
//! Not here: requests of modules (`Host::originate`), credentials (`uac`).
//! Invariants: the Call-ID hashes to the shard that sends, so the answer comes home.

use super::{ListOf, Policy, Request, Routing};
use crate::engine::incoming::Incoming;
use crate::engine::slots::ContextId;
use crate::limits::COMPLETIONS_MAX;
use crate::message::{Message, StatusCode};
use crate::module::{Has, Heard, Host, Reach};
use crate::shard::{ShardId, ShardMap};
use crate::time::Duration;
use crate::transport::Flow;
use std::rc::Rc;
use std::task::Poll;

/// How often a Call-ID is drawn until one falls on the sending shard: with 64 shards one in
/// `e^16` requests would miss, and its answer would come home by the branch all the same.
const DRAWS_MAX: usize = 1024;

/// How often, and how many times, a name is looked for whose addresses are being asked for: 5 s in
/// all, after which a resolver has given up too.
const LOOK_EVERY: Duration = Duration::from_millis(50);
/// See [`LOOK_EVERY`].
const LOOKS_MAX: usize = 100;

/// A request outside of a dialog.
///
/// ```
/// use strowger_sip::routing::LocalRequest;
/// let check = LocalRequest::new("OPTIONS", "sip:192.0.2.20").header("Accept", "*/*");
/// ```
#[derive(Clone, Debug)]
pub struct LocalRequest {
    method: String,
    uri: String,
    from: Option<String>,
    to: Option<String>,
    next_hop: Option<String>,
    headers: Vec<(String, String)>,
    body: Option<(String, Vec<u8>)>,
}

impl LocalRequest {
    /// A request of this method for this URI.
    pub fn new(method: &str, uri: &str) -> LocalRequest {
        LocalRequest {
            method: one_line(method),
            uri: one_line(uri),
            from: None,
            to: None,
            next_hop: None,
            headers: Vec::new(),
            body: None,
        }
    }

    /// The URI in From; the Request-URI when none is given.
    pub fn from(mut self, uri: &str) -> LocalRequest {
        self.from = Some(one_line(uri));
        self
    }

    /// The URI in To; the Request-URI when none is given.
    pub fn to(mut self, uri: &str) -> LocalRequest {
        self.to = Some(one_line(uri));
        self
    }

    /// Where to send it instead of where the Request-URI says.
    pub fn next_hop(mut self, uri: &str) -> LocalRequest {
        self.next_hop = Some(one_line(uri));
        self
    }

    /// One more header. CR, LF and NUL are left out.
    pub fn header(mut self, name: &str, value: &str) -> LocalRequest {
        self.headers.push((one_line(name), one_line(value)));
        self
    }

    /// A body of this type.
    pub fn body(mut self, content_type: &str, bytes: &[u8]) -> LocalRequest {
        self.body = Some((one_line(content_type), bytes.to_vec()));
        self
    }

    /// The bytes without a Via, which is written when the request is sent.
    fn write(&self, call_id: &str, tag: u64) -> Vec<u8> {
        let to = self.to.as_ref().unwrap_or(&self.uri);
        let from = self.from.as_ref().unwrap_or(&self.uri);
        let mut text = format!(
            "{method} {uri} SIP/2.0\r\nTo: <{to}>\r\nFrom: <{from}>;tag={tag:016x}\r\n\
             CSeq: 10 {method}\r\nCall-ID: {call_id}\r\nMax-Forwards: 70\r\n",
            method = self.method,
            uri = self.uri,
        );
        for (name, value) in &self.headers {
            text += &format!("{name}: {value}\r\n");
        }
        let (content_type, body) = match &self.body {
            Some((content_type, body)) => (Some(content_type), body.as_slice()),
            None => (None, &[][..]),
        };
        if let Some(content_type) = content_type {
            text += &format!("Content-Type: {content_type}\r\n");
        }
        text += &format!("Content-Length: {}\r\n\r\n", body.len());
        let mut bytes = text.into_bytes();
        bytes.extend_from_slice(body);
        bytes
    }
}

fn one_line(text: &str) -> String {
    text.chars().filter(|c| !matches!(c, '\r' | '\n' | '\0')).collect()
}

/// How a request of our own ended.
#[derive(Debug)]
pub enum Completion {
    /// A final response came.
    Response(StatusCode, Rc<Incoming>),
    /// None came in time; counts as 408.
    Timeout,
    /// It could not be sent: no such address, no listener, or tables full; counts as 503.
    NotSent,
}

impl Completion {
    /// The status, or the one that stands for it.
    pub fn status(&self) -> StatusCode {
        match self {
            Completion::Response(status, _) => *status,
            Completion::Timeout => StatusCode::REQUEST_TIMEOUT,
            Completion::NotSent => StatusCode::SERVICE_UNAVAILABLE,
        }
    }

    /// The response, when one came.
    pub fn response(&self) -> Option<Message<'_>> {
        match self {
            Completion::Response(_, response) => Some(response.message()),
            Completion::Timeout | Completion::NotSent => None,
        }
    }
}

/// Completions that wait for the routing that asked for them.
#[derive(Debug, Default)]
pub(super) struct Completions {
    list: Vec<(ContextId, Completion)>,
}

impl Completions {
    /// Keeps the end of a request; `true` when it is the end.
    pub(super) fn hear(&mut self, context: ContextId, heard: Heard<'_>) -> bool {
        let completion = match heard {
            Heard::Response(message) => match message.status() {
                Some(status) if status.is_final() => {
                    Completion::Response(status, Rc::new(Incoming::copy_of(message)))
                }
                Some(_) | None => return false,
            },
            Heard::Timeout => Completion::Timeout,
            Heard::Transport => Completion::NotSent,
        };
        // A request that ended meanwhile never collects its answer: one answer each, the last one.
        self.list.retain(|(waiting, _)| *waiting != context);
        if self.list.len() >= COMPLETIONS_MAX {
            self.list.remove(0);
        }
        self.list.push((context, completion));
        true
    }

    fn take(&mut self, context: ContextId) -> Option<Completion> {
        let index = self.list.iter().position(|(waiting, _)| *waiting == context)?;
        Some(self.list.swap_remove(index).1)
    }
}

fn call_id(map: ShardMap, shard: ShardId, mut draw: impl FnMut() -> u64) -> String {
    let mut call_id = String::new();
    for _ in 0..DRAWS_MAX {
        call_id = format!("{:016x}{:016x}", draw(), draw());
        if map.home(call_id.as_bytes()) == shard {
            break;
        }
    }
    call_id
}

impl<R: Routing> Request<'_, R> {
    /// Sends a request of our own and waits for its final answer.
    ///
    /// A next hop that is a name waits for DNS. A routing awaits one such request at a time.
    pub async fn send<N>(&mut self, local: &LocalRequest) -> Completion
    where
        ListOf<R>: Has<Policy<R>, N>,
    {
        let Some(flow) = self.flow_of(local).await else { return Completion::NotSent };
        let sent = self.module::<Policy<R>, N, _>(|_, host, ids| {
            let (map, shard, entropy) = (host.map(), host.shard(), host.entropy());
            let call_id = call_id(map, shard, || entropy.next_u64());
            let bytes = local.write(&call_id, entropy.next_u64());
            host.originate(flow, &bytes, ids.context)
        });
        if sent.is_err() {
            return Completion::NotSent;
        }
        self.module_answer::<Policy<R>, N, _>(|policy, _, ids| {
            match policy.completions.take(ids.context) {
                Some(completion) => Poll::Ready(completion),
                None => Poll::Pending,
            }
        })
        .await
    }

    /// Where it goes, once DNS has said so.
    async fn flow_of<N>(&mut self, local: &LocalRequest) -> Option<Flow>
    where
        ListOf<R>: Has<Policy<R>, N>,
    {
        let next_hop = local.next_hop.as_ref().unwrap_or(&local.uri).as_bytes();
        for _ in 0..LOOKS_MAX {
            match self.module::<Policy<R>, N, _>(|_, host, _| host.reach(next_hop, None)) {
                Reach::Over(flow) => return Some(flow),
                Reach::Nowhere => return None,
                Reach::Unknown => self.pause(LOOK_EVERY).await,
            }
        }
        None
    }
}
