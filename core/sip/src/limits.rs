//! Bounds of everything a peer can make grow: one obvious place.
//!
//! For: naming each bound and saying where its number came from.
//! Not here: what happens on reaching one (the code that checks it says so), counters
//! (`metrics.rs`).

/// Longest datagram that UDP can carry; a message of a stream may be longer.
pub const DATAGRAM_BYTES_MAX: usize = 65_535;

/// Longest request sent over UDP while TCP can be tried: RFC 3261 §18.1.1 for a path of unknown
/// MTU.
pub const UDP_MTU: usize = 1300;

/// Longest message read from a stream, head and body together.
pub const STREAM_MESSAGE_BYTES_MAX: usize = 1 << 20;

/// Longest head (start line and header fields) read from a stream. A head that needs more is
/// hostile: the largest in daily use, with certificates and identity tokens, stay below a quarter
/// of it.
pub const STREAM_HEAD_BYTES_MAX: usize = 65_535;

/// Most header fields in one message, continuation lines not counted.
pub const HEADERS_MAX: usize = 256;

/// Most Via values in one message: the largest Max-Forwards in use, since each hop adds one.
pub const VIAS_MAX: usize = 70;

/// Most Route values, and as many Record-Route values, in one message.
pub const ROUTES_MAX: usize = 64;

/// Longest Request-URI; also the longest URI that is compared parameter by parameter.
pub const URI_BYTES_MAX: usize = 1024;

/// Longest method name: none registered has more than nine letters, but RFC 4475 §3.1.1.2 has one
/// of 43 that must be understood.
pub const METHOD_BYTES_MAX: usize = 64;

/// Most header edits recorded for one message: far more than any routing in use makes.
pub const EDITS_MAX: usize = 64;

/// Most text that the edits of one message hold, a replaced body included: what fits a datagram.
pub const EDITS_BYTES_MAX: usize = DATAGRAM_BYTES_MAX;

/// Most host names of which a shard remembers the addresses, and most that it asks for at once.
pub const RESOLVER_NAMES_MAX: usize = 4096;

/// Most requests that wait for the addresses of one host name; beyond, a branch fails at once.
pub const RESOLVER_WAITERS_MAX: usize = 1024;

/// Most peers of which a shard remembers that they refused TCP.
pub const TCP_REFUSALS_MAX: usize = 4096;

/// Most answers to requests of our own that wait for the routing that sent them.
pub const COMPLETIONS_MAX: usize = 4096;

/// Most responses that modules keep from going upstream for a moment; beyond, none is held.
pub const HELD_MAX: usize = 65_536;

/// Most branches of one request over all rounds of its routing (Kamailio's upper bound).
pub const BRANCHES_MAX: usize = 32;

/// What one message may hold. The default is the constants above.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Longest message, in bytes.
    pub message_bytes_max: usize,
    /// Longest head of a message read from a stream, in bytes.
    pub head_bytes_max: usize,
    /// Most header fields.
    pub headers_max: usize,
    /// Most Via values, counted over all Via fields.
    pub vias_max: usize,
    /// Most Route values, and as many Record-Route values.
    pub routes_max: usize,
    /// Longest Request-URI, in bytes.
    pub uri_bytes_max: usize,
    /// Longest method name, in bytes.
    pub method_bytes_max: usize,
}

impl Limits {
    /// For messages that arrive in datagrams.
    pub const DATAGRAM: Limits = Limits {
        message_bytes_max: DATAGRAM_BYTES_MAX,
        head_bytes_max: DATAGRAM_BYTES_MAX,
        headers_max: HEADERS_MAX,
        vias_max: VIAS_MAX,
        routes_max: ROUTES_MAX,
        uri_bytes_max: URI_BYTES_MAX,
        method_bytes_max: METHOD_BYTES_MAX,
    };

    /// For messages that arrive over TCP, TLS or WebSocket.
    pub const STREAM: Limits = Limits {
        message_bytes_max: STREAM_MESSAGE_BYTES_MAX,
        head_bytes_max: STREAM_HEAD_BYTES_MAX,
        headers_max: HEADERS_MAX,
        vias_max: VIAS_MAX,
        routes_max: ROUTES_MAX,
        uri_bytes_max: URI_BYTES_MAX,
        method_bytes_max: METHOD_BYTES_MAX,
    };
}

impl Default for Limits {
    fn default() -> Limits {
        Limits::DATAGRAM
    }
}
