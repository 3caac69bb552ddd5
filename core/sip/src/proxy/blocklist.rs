//! Destinations that did not answer, left out for a while (Kamailio's `dst_blocklist`).
//!
//! For: a target with several addresses should not begin with the dead one each time, and a target
//! with one should fail at once rather than after timer B.
//! Not here: destinations that are probed (`modules/dispatcher`), noticing the failure
//! (`engine/expire.rs`).
//! Invariants: the list is bounded, the oldest entry gives way; an entry ends by itself.

use crate::message::MethodKind;
use crate::table::Map;
use crate::time::{Duration, Instant, secs};
use crate::transport::{Flow, Transport};
use std::collections::VecDeque;
use std::net::SocketAddr;

/// Bytes that an entry costs, by which `dst_blocklist_mem` becomes a number of entries: key, time
/// and both indexes with their spare room, measured by the size of the types.
pub const ENTRY_BYTES: usize = 128;

/// How destinations are left out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BlocklistRules {
    /// `dst_blocklist_expire`: how long an entry lasts.
    pub expire: Duration,
    /// Most entries, from `dst_blocklist_mem`.
    pub entries_max: usize,
    /// `blst_503`: a 503 with Retry-After counts, for as long as it says within these bounds
    /// (`blst_503_min_timeout`, `blst_503_max_timeout`), and for the third (`blst_503_def_timeout`)
    /// when it says nothing; zero for not at all.
    pub on_503: Option<[Duration; 3]>,
    /// `blst_methods_add`: requests whose failure is noted.
    pub methods_add: Vec<MethodKind>,
    /// `blst_methods_lookup`: requests that avoid what is listed; `None` for all but BYE, ACK and
    /// CANCEL.
    pub methods_lookup: Option<Vec<MethodKind>>,
}

impl Default for BlocklistRules {
    fn default() -> BlocklistRules {
        BlocklistRules {
            expire: secs(60),
            entries_max: (250 << 10) / ENTRY_BYTES,
            on_503: None,
            methods_add: vec![MethodKind::Invite],
            methods_lookup: None,
        }
    }
}

impl BlocklistRules {
    pub(crate) fn adds(&self, method: MethodKind) -> bool {
        self.methods_add.contains(&method)
    }

    pub(crate) fn looks(&self, method: MethodKind) -> bool {
        match &self.methods_lookup {
            Some(methods) => methods.contains(&method),
            None => !matches!(method, MethodKind::Bye | MethodKind::Ack | MethodKind::Cancel),
        }
    }

    /// How long a 503 with this Retry-After, in seconds, keeps its sender out.
    pub(crate) fn after_503(&self, retry_after: Option<u32>) -> Option<Duration> {
        let [least, most, otherwise] = self.on_503?;
        let span = match retry_after {
            Some(seconds) => secs(seconds.into()).clamp(least.min(most), most),
            None => otherwise,
        };
        (!span.is_zero()).then_some(span)
    }
}

type Destination = (Transport, SocketAddr);

/// The destinations of one shard that are left out.
pub(crate) struct Blocklist {
    until: Map<Destination, Instant>,
    order: VecDeque<Destination>,
}

impl Blocklist {
    pub(crate) fn new(key: (u64, u64)) -> Blocklist {
        Blocklist { until: Map::new(key), order: VecDeque::new() }
    }

    /// Leaves a destination out until then.
    pub(crate) fn add(&mut self, flow: &Flow, until: Instant, entries_max: usize) {
        let destination = (flow.transport, flow.remote);
        if self.until.insert(destination, until).is_some() {
            return;
        }
        self.order.push_back(destination);
        while self.order.len() > entries_max {
            let Some(oldest) = self.order.pop_front() else { return };
            self.until.remove(&oldest);
        }
    }

    /// The destinations that are left out, the oldest first, and until when.
    pub(crate) fn iter(
        &self,
        now: Instant,
    ) -> impl Iterator<Item = (Transport, SocketAddr, Instant)> {
        self.order.iter().filter_map(move |(transport, address)| {
            let until = *self.until.get(&(*transport, *address))?;
            (until > now).then_some((*transport, *address, until))
        })
    }

    /// Forgets all of them.
    pub(crate) fn forget(&mut self) {
        self.until.clear();
        self.order.clear();
    }

    /// Whether a destination is left out. One over a connection that is open is reachable.
    pub(crate) fn holds(&self, flow: &Flow, now: Instant) -> bool {
        let listed = || self.until.get(&(flow.transport, flow.remote));
        flow.connection.is_none() && listed().is_some_and(|until| *until > now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::transport::ListenerId;

    fn flow(port: u16) -> Flow {
        Flow::udp(ListenerId(0), SocketAddr::from(([192, 0, 2, 1], port)))
    }

    #[test]
    fn an_entry_ends_by_itself_and_is_of_one_transport() {
        let mut list = Blocklist::new((1, 2));
        list.add(&flow(5060), Instant::START + secs(60), 10);
        assert!(list.holds(&flow(5060), Instant::START + secs(59)));
        assert!(!list.holds(&flow(5060), Instant::START + secs(60)));
        let tcp = Flow { transport: Transport::Tcp, ..flow(5060) };
        assert!(!list.holds(&tcp, Instant::START));
    }

    #[test]
    fn the_oldest_entry_gives_way() {
        let mut list = Blocklist::new((1, 2));
        for port in 1..=20 {
            list.add(&flow(port), Instant::START + secs(60), 10);
            list.add(&flow(port), Instant::START + secs(61), 10);
        }
        assert_eq!((list.order.len(), list.until.len()), (10, 10));
        assert!(!list.holds(&flow(10), Instant::START) && list.holds(&flow(11), Instant::START));
    }

    #[test]
    fn a_503_counts_for_as_long_as_it_says_within_bounds() {
        let mut rules = BlocklistRules::default();
        assert_eq!(rules.after_503(Some(10)), None);
        rules.on_503 = Some([secs(5), secs(60), Duration::ZERO]);
        assert_eq!(rules.after_503(Some(10)), Some(secs(10)));
        assert_eq!(rules.after_503(Some(1)), Some(secs(5)));
        assert_eq!(rules.after_503(Some(u32::MAX)), Some(secs(60)));
        assert_eq!(rules.after_503(None), None);
    }
}
