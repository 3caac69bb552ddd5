//! Requests too long for UDP go over TCP first: RFC 3261 §18.1.1.
//!
//! For: the flow to try instead, and which peers need not be tried again so soon.
//! Not here: noticing the length (`engine/core.rs`), going back to UDP (`attempt.rs`).
//! Invariants: who wrote `transport=udp` gets UDP; the memory of refusals is bounded.

use super::forward;
use crate::engine::core::State;
use crate::engine::slots::ContextId;
use crate::limits::TCP_REFUSALS_MAX;
use crate::message::Uri;
use crate::module::list::ModuleList;
use crate::table::Map;
use crate::time::{Duration, Instant, secs};
use crate::transport::{Flow, Transport};
use std::net::SocketAddr;

/// How long a peer that refused TCP is not asked again, lest each long request waits for the same
/// refusal. Kamailio's blocklist forgets after as long.
const REFUSED_FOR: Duration = secs(60);

/// Peers that have refused TCP.
pub(crate) struct Refusals {
    until: Map<SocketAddr, Instant>,
}

impl Refusals {
    pub(crate) fn new(key: (u64, u64)) -> Refusals {
        Refusals { until: Map::new(key) }
    }

    /// Notes a refusal.
    pub(super) fn note(&mut self, peer: SocketAddr, now: Instant) {
        if self.until.len() >= TCP_REFUSALS_MAX {
            self.until.clear();
        }
        self.until.insert(peer, now + REFUSED_FOR);
    }

    fn holds(&self, peer: SocketAddr, now: Instant) -> bool {
        self.until.get(&peer).is_some_and(|until| *until > now)
    }
}

/// The flow over TCP that a branch tries instead of this one over UDP; `None` when it has to be
/// UDP.
pub(super) fn instead<L: ModuleList>(
    state: &State<L>,
    (id, index): (ContextId, u8),
    flow: Flow,
) -> Option<Flow> {
    let core = &state.core;
    let context = core.contexts.get(id)?;
    let branch = context.branches.get(usize::from(index))?;
    let hop = forward::hop(context.request.message(), &context.plan, &branch.target).ok()?;
    let asks_for_udp = Uri::parse(hop.destination).ok()?.transport().is_some();
    if asks_for_udp || hop.flow.is_some() || core.refusals.holds(flow.remote, core.now) {
        return None;
    }
    let transport = Transport::Tcp;
    let listener = core.identity.listener_for(transport, flow.remote, flow.listener)?;
    Some(Flow { transport, listener, ..flow })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn peer(number: usize) -> SocketAddr {
        SocketAddr::from(([192, 0, 2, 1], u16::try_from(number).expect("a port")))
    }

    #[test]
    fn a_refusal_is_remembered_for_a_while() {
        let mut refusals = Refusals::new((1, 2));
        refusals.note(peer(1), Instant::START);
        assert!(refusals.holds(peer(1), Instant::START + secs(59)));
        assert!(!refusals.holds(peer(1), Instant::START + secs(60)));
        assert!(!refusals.holds(peer(2), Instant::START));
    }

    #[test]
    fn the_number_of_refusals_is_bounded() {
        let mut refusals = Refusals::new((1, 2));
        (0..3 * TCP_REFUSALS_MAX).for_each(|n| refusals.note(peer(n), Instant::START));
        assert!(refusals.until.len() <= TCP_REFUSALS_MAX);
    }
}
