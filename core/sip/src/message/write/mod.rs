//! Messages out: each is written once, straight into the output buffer.
//!
//! For: forwarding (§16.6, §16.7), answering (§8.2.6), ACK (§17.1.1.3) and CANCEL (§9.1).
//! Not here: what to change (`proxy/`, routings), recording edits (`edits.rs`).
//! Invariants: what is written has exactly one Content-Length and it is right; headers that nobody
//! changed keep their order and their octets, except that folds are undone.

mod forward;
mod hop;
mod reply;
mod sink;

pub use forward::{
    RequestChanges, ResponseChanges, RouteChanges, TopVia, write_forwarded_request,
    write_forwarded_response,
};
pub use hop::{write_ack, write_cancel};
pub use reply::{Reply, write_reply};
