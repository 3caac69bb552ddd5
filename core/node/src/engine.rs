//! What the shard loop drives: the engine of `core/sip`, or a stand-in in the tests of this crate.
//!
//! For: keeping the edge ignorant of routings and modules.
//! Not here: anything that decides.

use strowger_sip::actions::Actions;
use strowger_sip::engine::{Census, Input};
use strowger_sip::time::Instant;

/// The engine of one shard: built on its thread, never moved from it.
pub trait ShardEngine: 'static {
    /// What engines of different shards tell each other.
    type Peer: Send + 'static;

    /// Takes one input; what follows from it is appended to `out`.
    fn handle(
        &mut self,
        now: Instant,
        input: Input<'_, Self::Peer>,
        out: &mut Actions<Self::Peer>,
    );

    /// Fires every timer that is due.
    fn expire(&mut self, now: Instant, out: &mut Actions<Self::Peer>);

    /// When `expire` has something to do next.
    fn next_deadline(&self) -> Option<Instant>;

    /// What is alive.
    fn census(&self) -> Census;

    /// Every count with its name.
    fn each_metric(&self, each: &mut dyn FnMut(&'static str, u64));
}
