//! The plain hooks of a routing: what Kamailio calls branch routes and reply routes.
//!
//! For: last changes to each branch and to each response, without waiting for anything. They run as
//! the first of the modules, so that modules see their changes.
//! Not here: deciding where a request goes; that is `Routing::request`.

use super::local::Completions;
use super::measure::{self, Measures, Waiting};
use super::{ListOf, Reply, Request, Routing};
use crate::engine::slots::ContextId;
use crate::engine::{CallChange, CallOrder};
use crate::message::{EditError, Edits, Message, StatusCode, Uri};
use crate::module::notes::EachReading;
use crate::module::{
    Arrived, Command, CommandNote, Departing, Event, Fault, Has, Heard, Host, MetricNote, Module,
    Outgoing, Verdict,
};
use crate::shard::ShardId;
use crate::transport::{Flow, Listeners};
use std::cell::Cell;
use std::rc::Rc;

/// The hooks of a routing as a module.
#[derive(Debug)]
pub struct Policy<R> {
    routing: Rc<R>,
    pub(super) completions: Completions,
    measures: Measures,
}

impl<R: Routing> Policy<R> {
    pub(crate) fn new(routing: Rc<R>) -> Policy<R> {
        Policy { routing, completions: Completions::default(), measures: Measures::default() }
    }
}

impl<R: Routing> Module for Policy<R> {
    const NAME: &'static str = "routing";
    const LISTENS: bool = R::LISTENS;
    const COMMANDS: &'static [CommandNote] = &[
        CommandNote::each("tm.cancel", "callid cseq", "Cancels a request that is being routed."),
        CommandNote::each(
            "tm.reply_callid",
            "code reason callid cseq",
            "Answers a request that is being routed.",
        ),
    ];
    const METRICS: &'static [MetricNote] = measure::NOTES;
    type Attached = Waiting;
    type Peer = CallOrder;
    type Timer = ();
    type Token = ContextId;
    type Row = ();

    fn request(&mut self, host: &mut impl Host<Self>, request: &Arrived<'_>) -> Verdict {
        let now = host.now();
        if let Some(waiting) = request.transaction.and_then(|id| host.attached(id)) {
            waiting.begin(now, request.incoming);
        }
        Verdict::Continue
    }

    fn renew(&mut self, _: &mut impl Host<Self>, fresh: Self) {
        self.routing = fresh.routing;
    }

    fn readings(&self, each: &mut EachReading<'_>) {
        self.measures.each(each);
    }

    fn forward(
        &mut self,
        host: &mut impl Host<Self>,
        request: &Arrived<'_>,
        outgoing: &mut Outgoing<'_>,
    ) {
        let Outgoing { request_uri, flow, edits, record_route_params } = outgoing;
        let message = request.incoming.message();
        let source = request.incoming.flow();
        let mut branch = Branch {
            message,
            source,
            request_uri,
            flow: *flow,
            listeners: host.listeners(),
            edits,
            params: record_route_params,
        };
        self.routing.branch(&mut branch);
    }

    fn response(
        &mut self,
        host: &mut impl Host<Self>,
        response: &Departing<'_>,
        edits: &mut Edits,
    ) {
        let Departing { status, message, request, suppress, flow, transaction } = *response;
        let now = host.now();
        if let Some(waiting) = host.attached(transaction) {
            self.measures.note(now, waiting, status);
        }
        let ours = &|uri: &Uri<'_>| host.is_ours(uri);
        let request = request.map(|request| request.message());
        let mut response = Response { status, message, flow, request, suppress, ours, edits };
        self.routing.response(&mut response);
    }

    fn peer(&mut self, host: &mut impl Host<Self>, _: ShardId, order: CallOrder) {
        host.order(order);
    }

    fn command(
        &mut self,
        host: &mut impl Host<Self>,
        command: &Command,
    ) -> Option<Result<String, Fault>> {
        let order = match command.name.as_str() {
            "tm.cancel" => cancel_order(&command.arguments),
            "tm.reply_callid" => reply_order(&command.arguments),
            _ => return None,
        };
        Some(order.map(|order| {
            host.order(order);
            "{}".to_owned()
        }))
    }

    fn event(&mut self, _: &mut impl Host<Self>, event: &Event) {
        self.routing.event(event);
    }

    fn answered(&mut self, host: &mut impl Host<Self>, context: ContextId, heard: Heard<'_>) {
        if self.completions.hear(context, heard) {
            host.wake(context);
        }
    }
}

/// `tm.cancel callid cseq`.
fn cancel_order(arguments: &[String]) -> Result<CallOrder, Fault> {
    let [call_id, cseq] = arguments else { return Err(wrong("callid and cseq")) };
    order(call_id, cseq, CallChange::Cancel)
}

/// `tm.reply_callid code reason callid cseq`.
fn reply_order(arguments: &[String]) -> Result<CallOrder, Fault> {
    let [code, reason, call_id, cseq] = arguments else {
        return Err(wrong("code, reason, callid and cseq"));
    };
    let code = code.parse().ok().filter(|code| (200..700).contains(code));
    let code = code.ok_or_else(|| wrong("a code from 200 to 699"))?;
    order(call_id, cseq, CallChange::Reply(Reply::new(code).reason(reason)))
}

fn order(call_id: &str, cseq: &str, what: CallChange) -> Result<CallOrder, Fault> {
    let cseq = cseq.parse().map_err(|_| wrong("a number as cseq"))?;
    Ok(CallOrder { call_id: call_id.as_bytes().into(), cseq, what })
}

fn wrong(wanted: &str) -> Fault {
    Fault { code: 400, message: format!("{wanted} wanted") }
}

impl<R: Routing> Request<'_, R> {
    /// Cancels what is being routed of another call, on whichever shard it is (`t_cancel_callid`):
    /// its caller gets 487, its branches are cancelled.
    pub fn cancel_call<N>(&self, call_id: &[u8], cseq: u32)
    where
        ListOf<R>: Has<Policy<R>, N>,
    {
        self.send_order(CallOrder { call_id: call_id.into(), cseq, what: CallChange::Cancel });
    }

    /// Answers what is being routed of another call, on whichever shard it is (`t_reply_callid`).
    pub fn answer_call<N>(&self, call_id: &[u8], cseq: u32, reply: Reply)
    where
        ListOf<R>: Has<Policy<R>, N>,
    {
        self.send_order(CallOrder {
            call_id: call_id.into(),
            cseq,
            what: CallChange::Reply(reply),
        });
    }

    fn send_order<N>(&self, order: CallOrder)
    where
        ListOf<R>: Has<Policy<R>, N>,
    {
        self.module::<Policy<R>, N, _>(|_, host, _| {
            let home = host.map().home(&order.call_id);
            host.tell(home, order);
        });
    }
}

/// One branch, about to be sent.
pub struct Branch<'b> {
    message: Message<'b>,
    source: Flow,
    request_uri: &'b [u8],
    flow: Flow,
    listeners: &'b Listeners,
    edits: &'b mut Edits,
    params: &'b mut Vec<u8>,
}

impl Branch<'_> {
    /// The request as it was received.
    pub fn message(&self) -> Message<'_> {
        self.message
    }

    /// Where the request came from.
    pub fn source(&self) -> Flow {
        self.source
    }

    /// The Request-URI of this branch.
    pub fn request_uri(&self) -> &[u8] {
        self.request_uri
    }

    /// Where this branch goes.
    pub fn destination(&self) -> Flow {
        self.flow
    }

    /// The node's listening addresses.
    pub fn listeners(&self) -> &Listeners {
        self.listeners
    }

    /// Changes to headers and body of this branch alone.
    pub fn edits(&mut self) -> &mut Edits {
        self.edits
    }

    /// Appends a header to this branch.
    ///
    /// # Errors
    /// When name or value would split a header.
    pub fn append_header(&mut self, name: &str, value: &str) -> Result<(), EditError> {
        self.edits.append(name.as_bytes(), value.as_bytes())
    }

    /// Adds a parameter to this node's Record-Route entry on this branch; it comes back in the
    /// Route of every request of the dialog (`add_rr_param`). What no URI parameter may hold is
    /// left out.
    pub fn record_route_param(&mut self, name: &str, value: &str) {
        let fits = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.!~*'()[]/:&+$%".contains(&byte);
        self.params.push(b';');
        self.params.extend(name.bytes().filter(|&byte| fits(byte)));
        if !value.is_empty() {
            self.params.push(b'=');
            self.params.extend(value.bytes().filter(|&byte| fits(byte)));
        }
    }
}

/// One response, about to be sent upstream.
pub struct Response<'b> {
    status: StatusCode,
    message: Option<Message<'b>>,
    flow: Option<Flow>,
    request: Option<Message<'b>>,
    suppress: &'b Cell<bool>,
    ours: &'b dyn Fn(&Uri<'_>) -> bool,
    edits: &'b mut Edits,
}

impl Response<'_> {
    /// Its status.
    pub fn status(&self) -> StatusCode {
        self.status
    }

    /// The response as it was received; `None` when it is made here.
    pub fn message(&self) -> Option<Message<'_>> {
        self.message
    }

    /// The socket pair it came over; `None` when it is made here.
    pub fn source(&self) -> Option<Flow> {
        self.flow
    }

    /// Whether a URI names this node.
    pub fn is_ours(&self, uri: &Uri<'_>) -> bool {
        (self.ours)(uri)
    }

    /// The request it answers, while that is kept: not for a repeated 2xx.
    pub fn request(&self) -> Option<Message<'_>> {
        self.request
    }

    /// Keeps a provisional response from going upstream; no effect on a final one, which the caller
    /// must get.
    pub fn drop_provisional(&mut self) {
        self.suppress.set(true);
    }

    /// Changes to its headers and body.
    pub fn edits(&mut self) -> &mut Edits {
        self.edits
    }

    /// Appends a header.
    ///
    /// # Errors
    /// When name or value would split a header.
    pub fn append_header(&mut self, name: &str, value: &str) -> Result<(), EditError> {
        self.edits.append(name.as_bytes(), value.as_bytes())
    }
}
