//! The plain hooks of a routing: what Kamailio calls branch routes and reply routes.
//!
//! For: last changes to each branch and to each response, without waiting for anything. They run as
//! the first of the modules, so that modules see their changes.
//! Not here: deciding where a request goes; that is `Routing::request`.

use super::Routing;
use super::local::Completions;
use crate::engine::slots::ContextId;
use crate::message::{EditError, Edits, Message, StatusCode};
use crate::module::{Arrived, Departing, Heard, Host, Module, Outgoing};
use crate::transport::Flow;
use std::cell::Cell;
use std::rc::Rc;

/// The hooks of a routing as a module.
#[derive(Debug)]
pub struct Policy<R> {
    routing: Rc<R>,
    pub(super) completions: Completions,
}

impl<R: Routing> Policy<R> {
    pub(crate) fn new(routing: Rc<R>) -> Policy<R> {
        Policy { routing, completions: Completions::default() }
    }
}

impl<R: Routing> Module for Policy<R> {
    const NAME: &'static str = "routing";
    type Attached = ();
    type Peer = ();
    type Timer = ();
    type Token = ContextId;
    type Row = ();

    fn forward(
        &mut self,
        _: &mut impl Host<Self>,
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
            edits,
            params: record_route_params,
        };
        self.routing.branch(&mut branch);
    }

    fn response(&mut self, _: &mut impl Host<Self>, response: &Departing<'_>, edits: &mut Edits) {
        let Departing { status, message, request, suppress, .. } = *response;
        let request = request.map(|request| request.message());
        self.routing.response(&mut Response { status, message, request, suppress, edits });
    }

    fn answered(&mut self, host: &mut impl Host<Self>, context: ContextId, heard: Heard<'_>) {
        if self.completions.hear(context, heard) {
            host.wake(context);
        }
    }
}

/// One branch, about to be sent.
pub struct Branch<'b> {
    message: Message<'b>,
    source: Flow,
    request_uri: &'b [u8],
    flow: Flow,
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
    request: Option<Message<'b>>,
    suppress: &'b Cell<bool>,
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
