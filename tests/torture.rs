//! Hostile and strange input, in the pure engine: what a proxy owes it, and what it must not do.
//!
//! For: the messages of RFC 4475 and RFC 5118 with a verdict each, and input of our own by class.
//! Not here: the same through sockets (`hostile.rs`), mutations without end (`fuzz/`), readers and
//! writers alone (`core/sip/src/message/torture.rs`).
//! Invariants: whatever comes, what is sent is a well-formed message, and after a while nothing is
//! left in any table.

#[path = "torture/answers.rs"]
mod answers;
#[path = "torture/floods.rs"]
mod floods;
#[path = "torture/foreign.rs"]
mod foreign;
#[path = "torture/grammar.rs"]
mod grammar;
#[path = "torture/loops.rs"]
mod loops;
#[path = "torture/proxy.rs"]
mod proxy;
#[path = "torture/replies.rs"]
mod replies;
#[path = "torture/rfc4475.rs"]
mod rfc4475;
#[path = "torture/rfc5118.rs"]
mod rfc5118;
#[path = "torture/size.rs"]
mod size;
#[path = "torture/splitting.rs"]
mod splitting;
#[path = "torture/verdict.rs"]
mod verdict;
