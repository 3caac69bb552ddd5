//! Where a routing finds its shard's state while it runs: the state is put on the desk before a
//! routing is polled and taken away after.
//!
//! For: letting ordinary `async` code work on the shard's tables without a lock, a borrow across an
//! await, or a runtime. Ownership of the state is handed over like a baton: the engine has it, or
//! the desk has it for the length of one poll, or one call on the desk has it for its own length.
//! Invariants: no borrow of the state leaves a call, so none can live across an await.

use crate::engine::core::State;
use crate::module::list::Types;
use std::cell::Cell;

/// The place where a shard's state lies while routings run.
pub(crate) struct Desk<L: Types> {
    // A `Cell`, because both engine and routings reach the desk; it is never borrowed, only
    // emptied and filled.
    state: Cell<Option<Box<State<L>>>>,
}

impl<L: Types> Desk<L> {
    pub(crate) fn new(state: Box<State<L>>) -> Desk<L> {
        Desk { state: Cell::new(Some(state)) }
    }

    /// Takes the state; whoever takes it puts it back.
    ///
    /// # Panics
    /// When it is taken already: a fault of the engine, which nothing from outside can cause.
    pub(crate) fn take(&self) -> Box<State<L>> {
        self.state.take().expect("the shard's state is in use")
    }

    pub(crate) fn put(&self, state: Box<State<L>>) {
        self.state.set(Some(state));
    }

    /// Works on the state for the length of one call.
    pub(crate) fn with<T>(&self, work: impl FnOnce(&mut State<L>) -> T) -> T {
        let mut state = self.take();
        let result = work(&mut state);
        self.put(state);
        result
    }
}
