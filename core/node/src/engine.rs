//! What the shard loop drives: the engine of `core/sip`, or a stand-in in the tests of this crate.
//!
//! For: keeping the edge ignorant of routings and modules.
//! Not here: anything that decides.

use strowger_sip::actions::Actions;
use strowger_sip::engine::{ActionsOf, Census, Engine, Input, InputOf, PeerOf, RowOf};
use strowger_sip::metrics::Messages;
use strowger_sip::module::notes::EachReading;
use strowger_sip::module::{Command, Fault, Notes};
use strowger_sip::routing::Routing;
use strowger_sip::storage::Rows;
use strowger_sip::time::Instant;

/// The engine of one shard: built on its thread, never moved from it.
pub trait ShardEngine: 'static {
    /// What engines of different shards tell each other.
    type Peer: Send + 'static;
    /// What storage keeps for them.
    type Row: Rows;

    /// Takes one input; what follows from it is appended to `out`.
    fn handle(
        &mut self,
        now: Instant,
        input: Input<'_, Self::Peer, Self::Row>,
        out: &mut Actions<Self::Peer, Self::Row>,
    );

    /// Fires every timer that is due.
    fn expire(&mut self, now: Instant, out: &mut Actions<Self::Peer, Self::Row>);

    /// When `expire` has something to do next.
    fn next_deadline(&self) -> Option<Instant>;

    /// What is alive.
    fn census(&self) -> Census;

    /// Every count with its name.
    fn each_metric(&self, each: &mut dyn FnMut(&'static str, u64));

    /// What came in, by method and status.
    fn messages(&self) -> Messages {
        Messages::default()
    }

    /// Shows what has labels, and durations.
    fn readings(&self, each: &mut EachReading<'_>) {
        let _ = each;
    }

    /// What its counts and commands mean.
    fn notes() -> Notes {
        Notes::default()
    }

    /// Whether new calls are refused.
    fn is_draining(&self) -> bool {
        false
    }

    /// Takes over what can change from an engine that was made of a new configuration.
    fn renew(&mut self, now: Instant, fresh: Self, out: &mut Actions<Self::Peer, Self::Row>)
    where
        Self: Sized,
    {
        let _ = (now, fresh, out);
    }

    /// Does what a command of the control plane asks; `None` when nobody here knows it.
    fn command(
        &mut self,
        now: Instant,
        command: &Command,
        out: &mut Actions<Self::Peer, Self::Row>,
    ) -> Option<Result<String, Fault>> {
        let _ = (now, command, out);
        None
    }
}

impl<R: Routing> ShardEngine for Engine<R>
where
    RowOf<R>: Rows,
{
    type Peer = PeerOf<R>;
    type Row = RowOf<R>;

    fn handle(&mut self, now: Instant, input: InputOf<'_, R>, out: &mut ActionsOf<R>) {
        Engine::handle(self, now, input, out);
    }

    fn expire(&mut self, now: Instant, out: &mut ActionsOf<R>) {
        Engine::expire(self, now, out);
    }

    fn next_deadline(&self) -> Option<Instant> {
        Engine::next_deadline(self)
    }

    fn census(&self) -> Census {
        Engine::census(self)
    }

    fn each_metric(&self, each: &mut dyn FnMut(&'static str, u64)) {
        Engine::each_metric(self, each);
    }

    fn messages(&self) -> Messages {
        Engine::messages(self)
    }

    fn readings(&self, each: &mut EachReading<'_>) {
        Engine::readings(self, each);
    }

    fn notes() -> Notes {
        Engine::<R>::notes()
    }

    fn is_draining(&self) -> bool {
        Engine::is_draining(self)
    }

    fn renew(&mut self, now: Instant, fresh: Self, out: &mut ActionsOf<R>) {
        Engine::renew(self, now, fresh, out);
    }

    fn command(
        &mut self,
        now: Instant,
        command: &Command,
        out: &mut ActionsOf<R>,
    ) -> Option<Result<String, Fault>> {
        Engine::command(self, now, command, out)
    }
}
