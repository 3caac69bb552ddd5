//! Proxy rules: RFC 3261 §16 as functions over a shard's state.
//!
//! For: admission (§16.3), Route processing (§16.4), forwarding (§16.6), responses (§16.7), CANCEL
//! (§16.10), stateless forwarding (§16.11).
//! Not here: retransmission (`transaction/`), reading bytes (`message/`), policy (`routing/`).

pub(crate) mod admission;
pub(crate) mod attempt;
pub mod blocklist;
pub(crate) mod branch;
pub(crate) mod breadth;
pub(crate) mod cancel;
pub(crate) mod choice;
pub(crate) mod flow_token;
pub(crate) mod forward;
pub mod held;
pub(crate) mod identity;
pub(crate) mod overload;
pub(crate) mod reply;
pub mod resolver;
pub(crate) mod response;
pub(crate) mod route_set;
pub mod rules;
pub(crate) mod switch;
pub(crate) mod target;
