//! Modules made from configuration: each reads its own section.
//!
//! For: a binary that makes a routing's whole tuple of modules from one file.
//! Not here: reading files (`core/node`), what the keys mean (each module).

use super::list::Modules;
use super::{Module, Never};
use crate::date::Epoch;
use crate::lists::List;
use crate::settings::Section;
use crate::storage::Place;

/// What a module may know of its node when it is made.
#[derive(Clone, Copy, Debug)]
pub struct NodeFacts<'n> {
    /// The node's name, for ids that must differ from other nodes'.
    pub name: &'n str,
    /// Secret bytes, the same on all shards of the node and new at each start.
    pub secret: &'n [u8],
    /// Secret bytes that are the same over restarts, where the operator or an embedded database
    /// provides for it; new at each start otherwise.
    pub lasting_secret: &'n [u8],
    /// Whether there is storage; a module that is told to store without any says so.
    pub has_storage: bool,
    /// What the wall clock showed at the start; the same on all shards.
    pub epoch: Epoch,
}

/// A module that is made from its section.
#[diagnostic::on_unimplemented(
    message = "the module `{Self}` cannot be made from configuration",
    note = "implement `Configured` for it, or start the node with modules of your own making"
)]
pub trait Configured: Module {
    /// The name of its section.
    const SECTION: &'static str = Self::NAME;

    /// Reads the section. Called once to find mistakes, and once on each shard.
    fn configured(section: &mut Section<'_>, node: &NodeFacts<'_>) -> Self;

    /// The lists that it wants read from outside of the configuration.
    fn lists(section: &mut Section<'_>) -> Vec<List> {
        let _ = section;
        Vec::new()
    }
}

/// A tuple of modules that are all made from their sections.
pub trait ConfiguredModules: Modules {
    /// Reads each module's section of the configuration.
    fn configured(root: &mut Section<'_>, node: &NodeFacts<'_>) -> Self;

    /// The lists of all of them, each with the place of its module among rows.
    fn lists(root: &mut Section<'_>) -> Vec<(Place, List)>;

    /// Each module's section, and its keys that can change while it runs.
    fn live() -> Vec<(&'static str, &'static [&'static str])>;
}

impl ConfiguredModules for () {
    fn configured(_: &mut Section<'_>, _: &NodeFacts<'_>) {}
    fn lists(_: &mut Section<'_>) -> Vec<(Place, List)> {
        Vec::new()
    }
    fn live() -> Vec<(&'static str, &'static [&'static str])> {
        Vec::new()
    }
}

fn read<M: Configured>(root: &mut Section<'_>, node: &NodeFacts<'_>) -> M {
    let mut section = root.section(M::SECTION);
    M::configured(&mut section, node)
}

fn lists<M: Configured>(root: &mut Section<'_>, place: Place) -> Vec<(Place, List)> {
    let mut section = root.section(M::SECTION);
    M::lists(&mut section).into_iter().map(|list| (place, list)).collect()
}

macro_rules! tuples {
    () => {};
    ($first:ident $($rest:ident)*) => {
        impl<$first: Configured, $($rest: Configured),*> ConfiguredModules
            for ($first, $($rest,)*)
        {
            fn configured(root: &mut Section<'_>, node: &NodeFacts<'_>) -> Self {
                (read::<$first>(root, node), $(read::<$rest>(root, node),)*)
            }
            fn lists(root: &mut Section<'_>) -> Vec<(Place, List)> {
                // The routing's own hooks stand first.
                let places = 1..;
                let of_each = [lists::<$first>, $(lists::<$rest>,)*];
                places.zip(of_each).flat_map(|(place, lists)| lists(root, place)).collect()
            }
            fn live() -> Vec<(&'static str, &'static [&'static str])> {
                vec![($first::SECTION, $first::LIVE), $(($rest::SECTION, $rest::LIVE)),*]
            }
        }
        tuples!($($rest)*);
    };
}
tuples!(A B C D E F G H I J K L M N O Q);

/// A module that does nothing, for a place in a tuple that a test leaves empty.
#[derive(Debug, Default)]
pub struct Idle;

impl Module for Idle {
    const NAME: &'static str = "idle";
    type Attached = ();
    type Peer = Never;
    type Timer = Never;
    type Token = Never;
    type Row = Never;
}

impl Configured for Idle {
    fn configured(_: &mut Section<'_>, _: &NodeFacts<'_>) -> Idle {
        Idle
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::settings::{Configuration, Place, Value};

    #[test]
    fn every_module_reads_its_section_and_unknown_keys_are_found() {
        let mut configuration = Configuration::empty("test");
        configuration.set("idle", "spede", Place::default(), Value::Integer(1));
        let facts = NodeFacts {
            name: "n",
            secret: b"s",
            lasting_secret: b"l",
            has_storage: false,
            epoch: Epoch::new(0),
        };
        let (_, problems) = configuration.read(|root| {
            let _: (Idle, Idle) = ConfiguredModules::configured(root, &facts);
        });
        assert!(problems.to_string().contains("spede"), "{problems}");
    }
}
