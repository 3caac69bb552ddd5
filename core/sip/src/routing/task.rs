//! Routings that wait: futures kept in slots that are reused.
//!
//! For: polling the `async fn request` of a routing without a runtime and, in a steady load,
//! without a heap allocation: a slot holds one future in place; when it is done the next one takes
//! its room.
//! Invariants: as many slots as routings ever waited at once, never more than the contexts' bound.

use super::desk::Desk;
use super::{Answer, ListOf, Reply, Request, Routing};
use crate::engine::incoming::Incoming;
use crate::engine::slots::ContextId;
use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Poll, Waker};

/// What a routing decided.
pub(crate) type Decided = Result<Answer, Reply>;

/// A slot for the futures of one routing type.
trait Task<R: Routing> {
    fn start(&mut self, start: Start<R>);
    fn poll(&mut self) -> Poll<Decided>;
    fn stop(&mut self);
}

/// What a routing's future is made from.
pub(crate) struct Start<R: Routing> {
    pub(crate) routing: Rc<R>,
    pub(crate) desk: Rc<Desk<ListOf<R>>>,
    pub(crate) context: ContextId,
    pub(crate) incoming: Rc<Incoming>,
}

struct Slot<F, M> {
    future: Pin<Box<Option<F>>>,
    make: M,
}

impl<R, F, M> Task<R> for Slot<F, M>
where
    R: Routing,
    F: Future<Output = Decided>,
    M: Fn(Start<R>) -> F,
{
    fn start(&mut self, start: Start<R>) {
        self.future.set(Some((self.make)(start)));
    }

    fn poll(&mut self) -> Poll<Decided> {
        let Some(future) = self.future.as_mut().as_pin_mut() else { return Poll::Pending };
        // No waker: the engine itself knows what each routing waits for.
        let polled = future.poll(&mut std::task::Context::from_waker(Waker::noop()));
        if polled.is_ready() {
            self.future.set(None);
        }
        polled
    }

    fn stop(&mut self) {
        self.future.set(None);
    }
}

fn new_slot<R: Routing>() -> Box<dyn Task<R>> {
    fn slot<R: Routing, F: Future<Output = Decided>, M: Fn(Start<R>) -> F>(make: M) -> Slot<F, M> {
        Slot { future: Box::pin(None), make }
    }
    Box::new(slot(|start: Start<R>| async move {
        let Start { routing, desk, context, incoming } = start;
        routing.request(Request::new(&desk, context, incoming)).await
    }))
}

/// All slots of one shard.
pub(crate) struct Tasks<R: Routing> {
    slots: Vec<Box<dyn Task<R>>>,
    free: Vec<usize>,
}

impl<R: Routing> Tasks<R> {
    pub(crate) fn new() -> Tasks<R> {
        Tasks { slots: Vec::new(), free: Vec::new() }
    }

    /// Puts a routing's future into a slot; it does not run before it is polled.
    pub(crate) fn start(&mut self, start: Start<R>) -> usize {
        let index = self.free.pop().unwrap_or_else(|| {
            self.slots.push(new_slot());
            self.slots.len() - 1
        });
        if let Some(slot) = self.slots.get_mut(index) {
            slot.start(start);
        }
        index
    }

    /// Lets a routing run until it is done or waits. A slot whose routing is done is free again.
    pub(crate) fn poll(&mut self, index: usize) -> Poll<Decided> {
        let Some(slot) = self.slots.get_mut(index) else { return Poll::Pending };
        let polled = slot.poll();
        if polled.is_ready() {
            self.free.push(index);
        }
        polled
    }

    /// Drops a routing that is not wanted any more.
    pub(crate) fn stop(&mut self, index: usize) {
        if let Some(slot) = self.slots.get_mut(index) {
            slot.stop();
            self.free.push(index);
        }
    }

    /// How many routings wait.
    pub(crate) fn waiting(&self) -> usize {
        self.slots.len() - self.free.len()
    }
}
