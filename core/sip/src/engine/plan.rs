//! What a routing has decided so far about forwarding a request: recorded, applied when sending.
//!
//! For: the new Request-URI, the next hop, which Route values were ours, Record-Route, the target
//! set, header edits. Texts lie in one arena that is reused from request to request.
//! Not here: carrying it out (`proxy/forward.rs`).

use crate::message::Edits;
use crate::proxy::rules::EarlierReplies;
use crate::transaction::Timers;
use crate::transport::Flow;
use smallvec::SmallVec;

/// A piece of the plan's text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Span {
    start: u32,
    end: u32,
}

/// One member of the target set (RFC 3261 §16.5).
#[derive(Clone, Copy, Debug)]
pub(crate) struct Target {
    /// The Request-URI of this branch; the plan's own when absent.
    pub(crate) request_uri: Option<Span>,
    /// Where to send it instead of where URI and Route say.
    pub(crate) next_hop: Option<Span>,
    /// Route values to be put on top, as one header line: the Path of a binding (RFC 3327 §5.3).
    pub(crate) path: Option<Span>,
    /// The socket pair to use, whatever the URIs say (RFC 5626 §5.3).
    pub(crate) flow: Option<Flow>,
}

impl Target {
    /// The request as it is.
    pub(crate) const AS_RECEIVED: Target =
        Target { request_uri: None, next_hop: None, path: None, flow: None };
}

/// What is to be done with a request.
#[derive(Default)]
pub(crate) struct Plan {
    text: Vec<u8>,
    /// The Request-URI, where it differs from the received one.
    pub(crate) request_uri: Option<Span>,
    /// How many Route values at the top were ours (§16.4).
    pub(crate) routes_dropped: usize,
    /// The last Route value has become the Request-URI: the hop before us routes strictly (§16.4).
    pub(crate) last_route_taken: bool,
    /// The flow that a token in Route names (RFC 5626 §5.3).
    pub(crate) flow: Option<Flow>,
    /// The user part of this node's Record-Route entries: a flow token.
    pub(crate) record_route_user: Option<Span>,
    /// Put this node into the path of the dialog (§16.6 step 4).
    pub(crate) record_route: bool,
    /// Parameters for that entry.
    pub(crate) record_route_params: Vec<u8>,
    /// The target set of the next relay.
    pub(crate) targets: SmallVec<[Target; 4]>,
    /// Timers of the next relay, where they differ from the node's.
    pub(crate) timers: Option<Timers>,
    /// Responses of earlier rounds that take part in the next choice, where that differs from the
    /// node's rule.
    pub(crate) earlier: Option<EarlierReplies>,
    /// A 6xx does not end the other branches (`t_set_disable_6xx`).
    pub(crate) disable_6xx: bool,
    /// URIs that redirections have named so far.
    pub(crate) redirected: Vec<Span>,
    /// Variables of the routing: name, value.
    pub(crate) variables: Vec<(Span, Span)>,
    /// Edits for every branch.
    pub(crate) edits: Edits,
}

impl Plan {
    /// Keeps a text.
    pub(crate) fn keep(&mut self, text: &[u8]) -> Span {
        let start = u32::try_from(self.text.len()).unwrap_or(u32::MAX);
        self.text.extend_from_slice(text);
        Span { start, end: u32::try_from(self.text.len()).unwrap_or(u32::MAX) }
    }

    /// Reads a kept text.
    pub(crate) fn text(&self, span: Span) -> &[u8] {
        self.text.get(span.start as usize..span.end as usize).unwrap_or(&[])
    }

    /// Notes a URI that a redirection names; `false` when it was named before.
    pub(crate) fn redirect(&mut self, uri: &[u8]) -> bool {
        if self.redirected.iter().any(|span| self.text(*span) == uri) {
            return false;
        }
        let span = self.keep(uri);
        self.redirected.push(span);
        true
    }

    /// Forgets everything, keeps capacities.
    pub(crate) fn clear(&mut self) {
        let Plan {
            text,
            request_uri,
            routes_dropped,
            last_route_taken,
            flow,
            record_route_user,
            record_route,
            record_route_params,
            targets,
            timers,
            earlier,
            disable_6xx,
            redirected,
            variables,
            edits,
        } = self;
        text.clear();
        *request_uri = None;
        *routes_dropped = 0;
        *last_route_taken = false;
        *flow = None;
        *record_route_user = None;
        *record_route = false;
        record_route_params.clear();
        targets.clear();
        *timers = None;
        *earlier = None;
        *disable_6xx = false;
        redirected.clear();
        variables.clear();
        edits.clear();
    }
}
