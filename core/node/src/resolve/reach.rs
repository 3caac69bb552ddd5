//! Which places this node could send to at all.
//!
//! For: asking name servers only for what a listener can use.
//! Not here: choosing the listener (`core/sip/src/proxy/identity.rs`).

use super::lookup::Family;
use strowger_sip::transport::{Listeners, Transport};

/// The transports and address families of this node's listeners, each pair once.
#[derive(Clone, Debug)]
pub(super) struct Reach {
    pairs: Vec<(Transport, Family)>,
}

impl Reach {
    /// Of these listeners; without IPv6 where `ipv6` is off.
    pub(super) fn of(listeners: &Listeners, ipv6: bool) -> Reach {
        let mut pairs = Vec::new();
        for (_, listener) in listeners.iter() {
            let family = if listener.bound.is_ipv4() { Family::V4 } else { Family::V6 };
            let pair = (listener.transport, family);
            if (family == Family::V4 || ipv6) && !pairs.contains(&pair) {
                pairs.push(pair);
            }
        }
        Reach { pairs }
    }

    /// Whether some listener has this transport.
    pub(super) fn has(&self, transport: Transport) -> bool {
        self.pairs.iter().any(|(have, _)| *have == transport)
    }

    /// Whether some listener has this transport and family.
    pub(super) fn has_family(&self, transport: Transport, family: Family) -> bool {
        self.pairs.contains(&(transport, family))
    }
}
