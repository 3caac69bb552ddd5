//! A shard that runs takes over what a changed configuration says.
//!
//! For: rules and settings of routing and modules, between two inputs.
//! Not here: which keys can change (each module's `LIVE`), reading them (`core/node`).
//! Invariants: what is alive stays: transactions, dialogs, contacts, requests being routed.

use super::core::State;
use super::{ActionsOf, Engine};
use crate::module::list::Hooks;
use crate::routing::Routing;
use crate::time::Instant;

impl<R: Routing> Engine<R> {
    /// Takes over from an engine that was made of the new configuration and never ran. Requests
    /// that are being routed go on by the routing that they began with.
    pub fn renew(&mut self, now: Instant, fresh: Engine<R>, out: &mut ActionsOf<R>) {
        let Engine { desk, routing, .. } = fresh;
        let State { core: fresh, modules } = *desk.take();
        self.routing = routing;
        self.run(now, out, |state| {
            state.core.settings.overload = fresh.settings.overload;
            state.modules.renew(&mut state.core, modules);
        });
    }
}
