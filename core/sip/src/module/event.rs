//! What one module tells the others of its shard.
//!
//! For: the location telling presence of a new contact, presence telling the location of an
//! imported one, without either knowing who listens. The events' types belong to the module that
//! is their subject.
//! Invariants: delivered within the call of the engine in which it was published, in order.

use std::any::Any;

/// Something that happened; of a type that its publisher defines.
#[derive(Debug)]
pub struct Event(Box<dyn Any>);

impl Event {
    pub(crate) fn new<E: 'static>(event: E) -> Event {
        Event(Box::new(event))
    }

    /// The event, if it is of this type.
    pub fn of<E: 'static>(&self) -> Option<&E> {
        self.0.downcast_ref()
    }
}
