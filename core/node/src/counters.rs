//! What the edge of one shard counts, and the summary line made of it.
//!
//! For: plain cells that the shard owns; read by asking the shard.
//! Not here: what the engine counts (`core/sip/src/metrics.rs`).

use crate::stream::StreamCounters;
use std::fmt;
use strowger_sip::engine::Census;
use strowger_sip::metrics::Messages;
use strowger_sip::shard::ShardId;

/// Counts of one shard's edge since the start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Datagrams received from the shard's own sockets.
    pub received: u64,
    /// Datagrams that the kernel took for sending.
    pub sent: u64,
    /// Datagrams handed over to their home shard.
    pub handed_over: u64,
    /// Datagrams taken over from other shards.
    pub taken_over: u64,
    /// Messages of the engine sent to other shards.
    pub peers_sent: u64,
    /// Messages of the engine received from other shards.
    pub peers_received: u64,
    /// Datagrams dropped because the lane to their home shard was full.
    pub shed: u64,
    /// Messages of the engine dropped for the same reason.
    pub peers_shed: u64,
    /// Datagrams longer than the receive buffer.
    pub truncated: u64,
    /// Errors of receiving other than "nothing there".
    pub receive_failed: u64,
    /// Datagrams that could not be sent: their destination or their length was refused.
    pub send_failed: u64,
    /// Datagrams dropped because the socket's send buffer stayed full.
    pub send_blocked: u64,
    /// Messages for a listener or a transport that this node has not.
    pub send_unroutable: u64,
    /// Host names asked for.
    pub names_asked: u64,
    /// Of these, names for which no name server had an answer.
    pub names_failed: u64,
    /// Host names not asked for because the resolver was too busy.
    pub names_refused: u64,
    /// Rows that modules wanted stored, dropped because there is no storage or no room in its
    /// queue.
    pub rows_dropped: u64,
    /// Rows that somebody waited for, refused for the same reasons.
    pub rows_refused: u64,
    /// Rows that came from storage.
    pub rows_received: u64,
    /// Datagrams that the kernel dropped before they could be received.
    pub kernel_drops: u64,
    /// Turns of the shard loop.
    pub turns: u64,
    /// Times the shard waited a moment.
    pub naps: u64,
    /// Times the shard went to sleep.
    pub rests: u64,
    /// Of connections, if there is a TCP listener.
    pub tcp: Option<StreamCounters>,
}

impl Counters {
    /// Calls `each` with every count and its name.
    pub fn each(&self, each: &mut impl FnMut(&'static str, u64)) {
        let counts = [
            ("datagrams_received", self.received),
            ("datagrams_sent", self.sent),
            ("handed_over", self.handed_over),
            ("taken_over", self.taken_over),
            ("peers_sent", self.peers_sent),
            ("peers_received", self.peers_received),
            ("shed", self.shed),
            ("peers_shed", self.peers_shed),
            ("truncated", self.truncated),
            ("receive_failed", self.receive_failed),
            ("send_failed", self.send_failed),
            ("send_blocked", self.send_blocked),
            ("send_unroutable", self.send_unroutable),
            ("names_asked", self.names_asked),
            ("names_failed", self.names_failed),
            ("names_refused", self.names_refused),
            ("rows_dropped", self.rows_dropped),
            ("rows_refused", self.rows_refused),
            ("rows_received", self.rows_received),
            ("kernel_drops", self.kernel_drops),
            ("turns", self.turns),
            ("naps", self.naps),
            ("rests", self.rests),
        ];
        counts.into_iter().for_each(|(name, count)| each(name, count));
    }
}

/// Everything that one shard tells about itself.
#[derive(Clone, Debug)]
pub struct Summary {
    /// Which shard.
    pub shard: ShardId,
    /// The core it is pinned to, if it is.
    pub core: Option<usize>,
    /// What its edge counted.
    pub counters: Counters,
    /// What is alive in its engine.
    pub census: Census,
    /// What its engine counted.
    pub metrics: Vec<(&'static str, u64)>,
    /// What came in, by method and status.
    pub messages: Messages,
    /// Whether it refuses new calls.
    pub draining: bool,
}

impl fmt::Display for Summary {
    /// One line of `key=value`; what an engine never counted is left out.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Summary { shard, core, counters: c, census, metrics, .. } = self;
        write!(f, "shard={} core=", shard.0)?;
        match core {
            Some(core) => write!(f, "{core}")?,
            None => f.write_str("any")?,
        }
        write!(f, " in={} out={}", c.received, c.sent)?;
        write!(f, " handed_over={} taken_over={}", c.handed_over, c.taken_over)?;
        write!(f, " peers_sent={} peers_received={}", c.peers_sent, c.peers_received)?;
        write!(f, " shed={} peers_shed={}", c.shed, c.peers_shed)?;
        write!(f, " kernel_drops={} truncated={}", c.kernel_drops, c.truncated)?;
        write!(f, " receive_failed={} send_failed={}", c.receive_failed, c.send_failed)?;
        write!(f, " send_blocked={} send_unroutable={}", c.send_blocked, c.send_unroutable)?;
        write!(f, " names_asked={} names_failed={}", c.names_asked, c.names_failed)?;
        write!(f, " names_refused={} rows_dropped={}", c.names_refused, c.rows_dropped)?;
        write!(f, " rows_refused={} rows_received={}", c.rows_refused, c.rows_received)?;
        write!(f, " turns={} naps={} rests={}", c.turns, c.naps, c.rests)?;
        c.tcp.iter().try_for_each(|tcp| tcp.fmt(f))?;
        write!(f, " server_transactions={}", census.server_transactions)?;
        write!(f, " client_transactions={}", census.client_transactions)?;
        write!(f, " contexts={} waiting_routings={}", census.contexts, census.waiting_routings)?;
        write!(f, " timers={} module_objects={}", census.timers, census.module_objects)?;
        metrics.iter().filter(|(_, n)| *n > 0).try_for_each(|(name, n)| write!(f, " {name}={n}"))
    }
}
