//! What the edge of one shard counts, and the summary line made of it.
//!
//! For: plain cells that the shard owns; read by asking the shard.
//! Not here: what the engine counts (`core/sip/src/metrics.rs`).

use crate::stream::StreamCounters;
use std::fmt;
use strowger_sip::engine::Census;
use strowger_sip::histogram::Histogram;
use strowger_sip::metrics::Messages;
use strowger_sip::module::MetricNote;
use strowger_sip::shard::ShardId;

macro_rules! counters {
    ($($(#[doc = $help:literal])* $name:ident as $shown:literal),* $(,)?) => {
        /// Counts of one shard's edge since the start.
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
        pub struct Counters {
            $($(#[doc = $help])* pub $name: u64,)*
            /// Of connections, if there is a TCP listener.
            pub tcp: Option<StreamCounters>,
        }

        impl Counters {
            /// What each of them means: the words that stand with it here.
            pub const NOTES: &'static [MetricNote] =
                &[$(MetricNote::counter($shown, concat!($($help),*))),*];

            /// Calls `each` with every count and its name.
            pub fn each(&self, each: &mut impl FnMut(&'static str, u64)) {
                $(each($shown, self.$name);)*
                self.tcp.iter().for_each(|tcp| tcp.each(each));
            }
        }
    };
}

counters! {
    /// Datagrams received from the shard's own sockets.
    received as "datagrams_received",
    /// Datagrams that the kernel took for sending.
    sent as "datagrams_sent",
    /// Datagrams handed over to their home shard.
    handed_over as "handed_over",
    /// Datagrams taken over from other shards.
    taken_over as "taken_over",
    /// Messages of the engine sent to other shards.
    peers_sent as "peers_sent",
    /// Messages of the engine received from other shards.
    peers_received as "peers_received",
    /// Datagrams dropped because the lane to their home shard was full.
    shed as "shed",
    /// Messages of the engine dropped for the same reason.
    peers_shed as "peers_shed",
    /// Datagrams longer than the receive buffer.
    truncated as "truncated",
    /// Errors of receiving other than "nothing there".
    receive_failed as "receive_failed",
    /// Datagrams that could not be sent: their destination or their length was refused.
    send_failed as "send_failed",
    /// Datagrams dropped because the socket's send buffer stayed full.
    send_blocked as "send_blocked",
    /// Messages for a listener or a transport that this node has not.
    send_unroutable as "send_unroutable",
    /// Host names asked for.
    names_asked as "names_asked",
    /// Of these, names for which no name server had an answer.
    names_failed as "names_failed",
    /// Host names not asked for because the resolver was too busy.
    names_refused as "names_refused",
    /// Rows that modules wanted stored, dropped because there is no storage or no room in its
    /// queue.
    rows_dropped as "rows_dropped",
    /// Rows that somebody waited for, refused for the same reasons.
    rows_refused as "rows_refused",
    /// Rows that came from storage.
    rows_received as "rows_received",
    /// Datagrams that the kernel dropped before they could be received.
    kernel_drops as "kernel_drops",
    /// Messages copied for who traces or mirrors.
    tap_copied as "tap_copied",
    /// Messages not copied because who traces was too slow.
    tap_lost as "tap_lost",
    /// Turns of the shard loop.
    turns as "turns",
    /// Times the shard waited a moment.
    naps as "naps",
    /// Times the shard went to sleep.
    rests as "rests",
}

/// A count with labels, or durations.
#[derive(Clone, Debug)]
pub struct Labelled {
    /// Its name, as its note has it.
    pub name: &'static str,
    /// Its labels.
    pub labels: Vec<(&'static str, String)>,
    /// What it reads.
    pub value: Value,
}

/// What a count reads.
#[derive(Clone, Debug)]
pub enum Value {
    /// A number.
    Number(u64),
    /// A time in microseconds, to be shown in seconds.
    Micros(u64),
    /// A ratio in millionths.
    Millionths(u64),
    /// Durations.
    Histogram(Histogram),
}

/// How a shard spends its time, in microseconds since its start.
#[derive(Clone, Debug, Default)]
pub struct Spent {
    /// In turns without waiting.
    pub busy: u64,
    /// In turns that waited for something to do.
    pub idle: u64,
    /// What the kernel counts as CPU time of its thread.
    pub cpu: u64,
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
    /// What has labels, and durations.
    pub readings: Vec<Labelled>,
    /// How it spent its time.
    pub spent: Spent,
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
