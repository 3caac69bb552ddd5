//! What one module tells the others of its shard.
//!
//! For: the location telling presence of a new contact, presence telling the location of an
//! imported one, without either knowing who listens. The events' types belong to the module that
//! is their subject.
//! Invariants: delivered within the call of the engine in which it was published, in order.

use std::any::{Any, TypeId};

/// Something that happened; of a type that its publisher defines.
#[derive(Debug)]
pub struct Event(Box<dyn Any>);

/// The types of events that some module of a shard wants to hear: others need not be made.
#[derive(Debug, Default)]
pub struct Ears {
    everything: bool,
    types: Vec<TypeId>,
}

impl Ears {
    /// Every event is wanted.
    pub fn hear_everything(&mut self) {
        self.everything = true;
    }

    /// Events of this type are wanted.
    pub fn hear<E: 'static>(&mut self) {
        let wanted = TypeId::of::<E>();
        if !self.types.contains(&wanted) {
            self.types.push(wanted);
        }
    }

    pub(crate) fn is_open_to<E: 'static>(&self) -> bool {
        self.everything || self.types.contains(&TypeId::of::<E>())
    }
}

impl Event {
    pub(crate) fn new<E: 'static>(event: E) -> Event {
        Event(Box::new(event))
    }

    /// The event, if it is of this type.
    pub fn of<E: 'static>(&self) -> Option<&E> {
        self.0.downcast_ref()
    }
}
