//! What is known of destinations beyond their configuration: states, calls, latency, turns.
//!
//! For: one entry a destination and one a set, on each shard.
//! Invariants: entries lie where the picture of the sets says (`Member::place`); a reload carries
//! them over by id.

use super::destination::DestinationId;
use super::health::{Health, Latency};
use super::sets::{Member, Set, Sets, share_out};
use smallvec::SmallVec;
use strowger_sip::shard::ShardId;
use strowger_sip::time::Instant;
use strowger_sip::wheel::TimerId;

/// One destination.
#[derive(Debug)]
pub(super) struct Live {
    pub(super) id: DestinationId,
    pub(super) health: Health,
    pub(super) latency: Latency,
    pub(super) probe: Probing,
    pub(super) overload_rate: u8,
    /// Turns that it owes to overload control, in hundredths.
    overload_debt: u16,
    load: Load,
}

/// The probes of a destination, on the shard that owns it.
#[derive(Debug, Default)]
pub(super) struct Probing {
    pub(super) timer: Option<TimerId>,
    pub(super) number: u32,
    /// The probe that has no final answer yet, and when it was sent.
    pub(super) pending: Option<(u32, Instant)>,
}

/// Calls, by the shard that counts them.
#[derive(Debug, Default)]
struct Load {
    here: u32,
    elsewhere: SmallVec<[u32; 8]>,
    total: u32,
    /// The others have not been told of the present number.
    changed: bool,
}

impl Live {
    pub(super) fn new(member: &Member) -> Live {
        let attributes = &member.destination.attributes;
        Live {
            id: member.id,
            health: Health::new(member.destination.state),
            latency: Latency::new(attributes.latency_ms),
            probe: Probing::default(),
            overload_rate: attributes.overload_rate,
            overload_debt: 0,
            load: Load::default(),
        }
    }

    pub(super) fn is_usable(&self) -> bool {
        self.health.state().is_usable()
    }

    /// Calls of all shards, as far as they have told.
    pub(super) fn load(&self) -> u32 {
        self.load.total
    }

    pub(super) fn add_call(&mut self) {
        self.load.here = self.load.here.saturating_add(1);
        self.load.total = self.load.total.saturating_add(1);
        self.load.changed = true;
    }

    pub(super) fn remove_call(&mut self) {
        self.load.here = self.load.here.saturating_sub(1);
        self.load.total = self.load.total.saturating_sub(1);
        self.load.changed = true;
    }

    /// The calls of this shard, when the others do not know the number.
    pub(super) fn take_changed_load(&mut self) -> Option<u32> {
        std::mem::take(&mut self.load.changed).then_some(self.load.here)
    }

    /// Another shard has told how many calls it has.
    pub(super) fn set_load_of(&mut self, shard: ShardId, calls: u32) {
        let index = usize::from(shard.0);
        if self.load.elsewhere.len() <= index {
            self.load.elsewhere.resize(index + 1, 0);
        }
        if let Some(known) = self.load.elsewhere.get_mut(index) {
            *known = calls;
        }
        let sum: u64 = self.load.elsewhere.iter().map(|calls| u64::from(*calls)).sum();
        let total = sum.saturating_add(u64::from(self.load.here));
        self.load.total = u32::try_from(total).unwrap_or(u32::MAX);
    }

    /// Whether overload control keeps this turn from it; asked once a turn.
    pub(super) fn is_spared(&mut self) -> bool {
        self.overload_debt += u16::from(self.overload_rate.min(100));
        let spared = self.overload_debt >= 100;
        self.overload_debt -= if spared { 100 } else { 0 };
        spared
    }
}

/// Whose turn it is in a set.
#[derive(Debug, Default)]
pub(super) struct Turn {
    pub(super) next: usize,
    next_slot: usize,
    relative: Vec<u16>,
    relative_is_valid: bool,
}

impl Turn {
    /// States have changed: the relative weights are another share of the whole.
    pub(super) fn states_changed(&mut self) {
        self.relative_is_valid = false;
    }

    /// Whose turn it is by `rweight` among usable destinations.
    pub(super) fn relative(&mut self, set: &Set, live: &[Live]) -> Option<u16> {
        if !self.relative_is_valid {
            let usable = |member: &&Member| live.get(member.place).is_some_and(Live::is_usable);
            let unweighted = !set
                .members
                .iter()
                .filter(usable)
                .any(|member| member.destination.attributes.rweight > 0);
            self.relative =
                share_out(set.members.iter().map(|member| match (usable(&member), unweighted) {
                    (false, _) => 0,
                    (true, true) => 1,
                    (true, false) => member.destination.attributes.rweight,
                }));
            self.relative_is_valid = true;
        }
        let slot = self.next_slot % self.relative.len().max(1);
        self.next_slot = slot + 1;
        self.relative.get(slot).copied()
    }

    /// Whose turn it is by `weight`.
    pub(super) fn weighted(&mut self, set: &Set) -> Option<u16> {
        let slot = self.next_slot % set.slots.len().max(1);
        self.next_slot = slot + 1;
        set.slots.get(slot).copied()
    }
}

/// Everything live of a picture.
#[derive(Debug, Default)]
pub(super) struct Lives {
    pub(super) list: Vec<Live>,
    pub(super) turns: Vec<Turn>,
    /// Where each id lies, by rising id.
    places: Vec<(DestinationId, usize)>,
}

impl Lives {
    /// The live side of a new picture: what was there before keeps its state and counts. What is
    /// gone is handed back.
    pub(super) fn renew(&mut self, sets: &Sets) -> Vec<Live> {
        let mut old = std::mem::take(&mut self.list);
        old.sort_by_key(|live| live.id);
        let ids: Vec<DestinationId> = old.iter().map(|live| live.id).collect();
        let mut old: Vec<Option<Live>> = old.into_iter().map(Some).collect();
        let mut take = |id: DestinationId| {
            let at = ids.binary_search(&id).ok()?;
            old.get_mut(at).and_then(Option::take)
        };
        let kept: Vec<Option<Live>> = sets.members().map(|member| take(member.id)).collect();
        let both = kept.into_iter().zip(sets.members());
        self.list = both.map(|(kept, member)| kept.unwrap_or_else(|| Live::new(member))).collect();
        self.turns = sets.iter().map(|_| Turn::default()).collect();
        self.places = self.list.iter().map(|live| live.id).zip(0..).collect();
        self.places.sort_unstable();
        old.into_iter().flatten().collect()
    }

    pub(super) fn place(&self, id: DestinationId) -> Option<usize> {
        let at = self.places.binary_search_by_key(&id, |(id, _)| *id).ok()?;
        self.places.get(at).map(|(_, place)| *place)
    }

    pub(super) fn get(&self, id: DestinationId) -> Option<&Live> {
        self.list.get(self.place(id)?)
    }

    pub(super) fn get_mut(&mut self, id: DestinationId) -> Option<&mut Live> {
        let place = self.place(id)?;
        self.list.get_mut(place)
    }

    /// A state has changed somewhere.
    pub(super) fn states_changed(&mut self) {
        self.turns.iter_mut().for_each(Turn::states_changed);
    }
}
