//! Lanes between shards: every pair exchanges parcels of messages: received, to be sent, and of
//! engines.
//!
//! For: handing datagrams over to their home shard, batched, bounded, without waiting or
//! allocating.
//! Not here: deciding which shard is home (`shard.rs`), waking a shard that sleeps (`doorbell.rs`).
//! Invariants: each lane owns a fixed number of parcels, so what is in flight is bounded and a full
//! lane is seen before anything is sent; what finds no room is refused to the caller, who counts
//! it.
//!
//! glommio's own `channel_mesh` is not used. When its eventfd rings just before an executor runs
//! its ready tasks, the executor sleeps without running them (0.9: `run_task_queues` returns false
//! if `need_preempt`). Tried here, that left a datagram lying once in some 60,000 hand-overs. The
//! standard library's bounded channel needs no executor.

use crate::doorbell::Doorbell;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use strowger_sip::actions::{Origin, Sends};
use strowger_sip::shard::ShardId;
use strowger_sip::time::{Duration, Instant};
use strowger_sip::transport::{ConnectionId, Flow, Lifespan};

/// Datagrams in one parcel. A guess: several turns of the loop at full batches.
const PARCEL_DATAGRAMS_MAX: usize = 256;
/// Bytes in one parcel; the datagram that passes it still fits. One largest datagram, or a hundred
/// usual ones.
const PARCEL_BYTES_MAX: usize = 65_536;
/// Engine messages in one parcel. A guess.
const PARCEL_PEERS_MAX: usize = 1024;
/// Parcels in flight up to which even a small one is sent at once. Beyond, the receiver is behind
/// and gains nothing from many small parcels, which would use up the lane's number of them.
const EAGER_PARCELS: usize = 4;

/// What `[mesh]` says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MeshSettings {
    /// Parcels that may be in flight from one shard to another.
    pub capacity: usize,
}

impl Default for MeshSettings {
    /// 128 parcels hold at least 8 MiB of datagrams, as much as the socket buffer of the shard that
    /// sends.
    fn default() -> MeshSettings {
        MeshSettings { capacity: 128 }
    }
}

/// Everything that one shard has for another at one time.
#[derive(Debug)]
pub(crate) struct Parcel<P> {
    /// In order of arrival; a [`Sends`] because that is a list of flows with bytes in one arena.
    pub(crate) datagrams: Sends,
    /// When the first of them was taken along, and how long it had waited before.
    pub(crate) oldest: Option<(Instant, Duration)>,
    /// Messages for connections of the receiver.
    pub(crate) sends: Sends,
    /// Who could not send over connections of the sender.
    pub(crate) unsent: Vec<Origin>,
    /// How long connections of the receiver are to live.
    pub(crate) lifespans: Vec<(ConnectionId, Lifespan)>,
    /// In order of sending.
    pub(crate) peers: Vec<P>,
}

impl<P> Parcel<P> {
    fn new() -> Parcel<P> {
        let (datagrams, sends) = (Sends::default(), Sends::default());
        let (unsent, lifespans, peers) = (Vec::new(), Vec::new(), Vec::new());
        Parcel { datagrams, oldest: None, sends, unsent, lifespans, peers }
    }

    fn is_empty(&self) -> bool {
        let Parcel { datagrams, oldest: _, sends, unsent, lifespans, peers } = self;
        let messages = datagrams.is_empty() && sends.is_empty() && peers.is_empty();
        messages && unsent.is_empty() && lifespans.is_empty()
    }

    fn has_room_for_datagram(&self) -> bool {
        let messages = self.datagrams.len() + self.sends.len();
        let bytes = self.datagrams.bytes() + self.sends.bytes();
        messages < PARCEL_DATAGRAMS_MAX && bytes < PARCEL_BYTES_MAX
    }

    fn has_room_for_peer(&self) -> bool {
        let others = self.unsent.len() + self.lifespans.len();
        self.peers.len() + others < PARCEL_PEERS_MAX
    }

    fn clear(&mut self) {
        // A message of a stream may be far longer than a datagram: its room is not kept.
        self.datagrams.clear_down_to(2 * PARCEL_BYTES_MAX);
        self.oldest = None;
        self.sends.clear_down_to(2 * PARCEL_BYTES_MAX);
        self.unsent.clear();
        self.lifespans.clear();
        self.peers.clear();
    }
}

/// Whether a message was taken along.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use = "a message that was shed must be counted"]
pub(crate) enum Posted {
    /// It goes with the next parcel.
    Taken,
    /// The lane is full.
    Shed,
}

/// One shard's ends of all lanes.
#[derive(Debug)]
pub(crate) struct Mesh<P> {
    // By shard; the place of the shard itself stays empty.
    outgoing: Vec<Option<Lane<P>>>,
    incoming: Vec<Option<Incoming<P>>>,
    // Where to look first, so that no shard is served before all others for ever.
    next: usize,
}

/// Parcels arrive, and go back empty.
#[derive(Debug)]
struct Incoming<P> {
    arrivals: Receiver<Parcel<P>>,
    give_back: SyncSender<Parcel<P>>,
}

/// Lanes between every two shards, of which each has a doorbell; one mesh per shard, in order.
pub(crate) fn lanes<P>(bells: &[Arc<Doorbell>], settings: &MeshSettings) -> Vec<Mesh<P>> {
    let (shards, capacity) = (bells.len(), settings.capacity.max(1));
    let mut meshes: Vec<Mesh<P>> = (0..shards)
        .map(|_| Mesh {
            outgoing: (0..shards).map(|_| None).collect(),
            incoming: (0..shards).map(|_| None).collect(),
            next: 0,
        })
        .collect();
    for from in 0..shards {
        for (to, bell) in bells.iter().enumerate().filter(|(to, _)| *to != from) {
            let (sender, arrivals) = sync_channel(capacity);
            let (give_back, returned) = sync_channel(capacity);
            let lane = Lane::new(sender, returned, Arc::clone(bell), capacity);
            meshes[from].outgoing[to] = Some(lane);
            meshes[to].incoming[from] = Some(Incoming { arrivals, give_back });
        }
    }
    meshes
}

impl<P> Mesh<P> {
    /// Takes a datagram along to the shard it belongs to; `waited` is the time of this call, and
    /// how long it had lain in its socket; messages of streams wait with their sender.
    pub(crate) fn post_datagram(
        &mut self,
        to: ShardId,
        waited: Option<(Instant, Duration)>,
        flow: Flow,
        bytes: &[u8],
    ) -> Posted {
        let Some(lane) = self.lane_for_datagram(to) else { return Posted::Shed };
        lane.pending.oldest = lane.pending.oldest.or(waited);
        lane.pending.datagrams.send(flow, bytes);
        Posted::Taken
    }

    /// Takes a message along to the shard that owns its connection.
    pub(crate) fn post_send(
        &mut self,
        to: ShardId,
        (origin, flow): (Origin, Flow),
        bytes: &[u8],
    ) -> Posted {
        let Some(lane) = self.lane_for_datagram(to) else { return Posted::Shed };
        lane.pending.sends.send_from(origin, flow, |out| out.extend_from_slice(bytes));
        Posted::Taken
    }

    /// Takes along that a message of another shard could not be sent.
    pub(crate) fn post_unsent(&mut self, to: ShardId, origin: Origin) -> Posted {
        let Some(lane) = self.lane_for_peer(to) else { return Posted::Shed };
        lane.pending.unsent.push(origin);
        Posted::Taken
    }

    /// Takes along how long a connection of another shard is to live.
    pub(crate) fn post_lifespan(
        &mut self,
        to: ShardId,
        lifespan: (ConnectionId, Lifespan),
    ) -> Posted {
        let Some(lane) = self.lane_for_peer(to) else { return Posted::Shed };
        lane.pending.lifespans.push(lifespan);
        Posted::Taken
    }

    /// Takes a message of the engine along to another shard.
    pub(crate) fn post_peer(&mut self, to: ShardId, message: P) -> Posted {
        let Some(lane) = self.lane_for_peer(to) else { return Posted::Shed };
        lane.pending.peers.push(message);
        Posted::Taken
    }

    /// The lane to a shard if it has room for a datagram, once it was flushed.
    fn lane_for_datagram(&mut self, to: ShardId) -> Option<&mut Lane<P>> {
        let lane = self.lane(to)?;
        if !lane.pending.has_room_for_datagram() {
            lane.flush();
        }
        Some(lane).filter(|lane| lane.pending.has_room_for_datagram())
    }

    /// The same for a message of the engine.
    fn lane_for_peer(&mut self, to: ShardId) -> Option<&mut Lane<P>> {
        let lane = self.lane(to)?;
        if !lane.pending.has_room_for_peer() {
            lane.flush();
        }
        Some(lane).filter(|lane| lane.pending.has_room_for_peer())
    }

    /// Sends what was taken along, as far as parcels are at hand.
    pub(crate) fn flush(&mut self) {
        self.outgoing.iter_mut().flatten().for_each(Lane::flush);
    }

    /// Whether all that was taken along has left; what has not needs another `flush`.
    pub(crate) fn is_flushed(&self) -> bool {
        self.outgoing.iter().flatten().all(|lane| lane.pending.is_empty())
    }

    /// The next parcel that arrived, each sender in its turn.
    pub(crate) fn next_arrival(&mut self) -> Option<(ShardId, Parcel<P>)> {
        let shards = self.incoming.len();
        for from in (self.next..shards).chain(0..self.next) {
            let Some(Some(lane)) = self.incoming.get(from) else { continue };
            if let Ok(parcel) = lane.arrivals.try_recv() {
                self.next = (from + 1) % shards;
                return Some((ShardId(u16::try_from(from).unwrap_or(u16::MAX)), parcel));
            }
        }
        None
    }

    /// Returns a parcel to the shard it came from, which fills it again.
    pub(crate) fn give_back(&mut self, from: ShardId, mut parcel: Parcel<P>) {
        parcel.clear();
        if let Some(Some(lane)) = self.incoming.get(usize::from(from.0)) {
            // Never full, for it holds as many as the lane has parcels; closed only when the node
            // stops.
            let _ = lane.give_back.try_send(parcel);
        }
    }

    fn lane(&mut self, to: ShardId) -> Option<&mut Lane<P>> {
        self.outgoing.get_mut(usize::from(to.0))?.as_mut()
    }
}

/// The way to one other shard.
#[derive(Debug)]
struct Lane<P> {
    sender: SyncSender<Parcel<P>>,
    bell: Arc<Doorbell>,
    pending: Parcel<P>,
    stock: Vec<Parcel<P>>,
    returned: Receiver<Parcel<P>>,
    // Parcels that may still be made; with those in stock, what the lane can take.
    unmade: usize,
    capacity: usize,
}

impl<P> Lane<P> {
    fn new(
        sender: SyncSender<Parcel<P>>,
        returned: Receiver<Parcel<P>>,
        bell: Arc<Doorbell>,
        capacity: usize,
    ) -> Lane<P> {
        let (pending, stock) = (Parcel::new(), Vec::with_capacity(capacity));
        Lane { sender, bell, pending, stock, returned, unmade: capacity, capacity }
    }

    /// Sends the pending parcel, unless too many are on their way.
    fn flush(&mut self) {
        if self.pending.is_empty() {
            return;
        }
        self.stock.extend(self.returned.try_iter());
        let in_flight = self.capacity - self.unmade - self.stock.len();
        let full = !self.pending.has_room_for_datagram() || !self.pending.has_room_for_peer();
        if in_flight >= EAGER_PARCELS && !full {
            return;
        }
        let empty = match (self.stock.pop(), self.unmade) {
            (Some(parcel), _) => parcel,
            (None, 0) => return,
            (None, _) => {
                self.unmade -= 1;
                Parcel::new()
            }
        };
        let parcel = std::mem::replace(&mut self.pending, empty);
        // Cannot be full: it holds as many as there are parcels. A closed lane means that the node
        // stops.
        let _ = self.sender.try_send(parcel);
        self.bell.ring();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doorbell;
    use strowger_sip::transport::ListenerId;

    fn flow() -> Flow {
        Flow::udp(ListenerId(0), "192.0.2.1:5060".parse().expect("an address"))
    }

    fn pair(capacity: usize) -> (Mesh<u32>, Mesh<u32>) {
        let bells: Vec<Arc<Doorbell>> =
            (0..2).map(|_| doorbell::pair().expect("a doorbell").0.into()).collect();
        let mut meshes = lanes(&bells, &MeshSettings { capacity }).into_iter();
        (meshes.next().expect("a mesh"), meshes.next().expect("a mesh"))
    }

    /// Opens one parcel, if any: its bytes and its messages.
    fn open(mesh: &mut Mesh<u32>) -> Option<(Vec<u8>, Vec<u32>)> {
        let (from, mut parcel) = mesh.next_arrival()?;
        let bytes = parcel.datagrams.iter().flat_map(|(_, bytes)| bytes.to_vec()).collect();
        let messages = parcel.peers.drain(..).collect();
        mesh.give_back(from, parcel);
        Some((bytes, messages))
    }

    #[test]
    fn lifespans_arrive_once_and_are_bounded() {
        let (mut one, mut two) = pair(1);
        let lifespan = (ConnectionId(7), Lifespan::Over);
        for _ in 0..PARCEL_PEERS_MAX {
            assert_eq!(one.post_lifespan(ShardId(1), lifespan), Posted::Taken);
        }
        one.flush();
        let (from, parcel) = two.next_arrival().expect("a parcel");
        assert_eq!(parcel.lifespans, vec![lifespan; PARCEL_PEERS_MAX]);
        // The only parcel is out: what waits for the next one has its bound.
        for _ in 0..PARCEL_PEERS_MAX {
            assert_eq!(one.post_lifespan(ShardId(1), lifespan), Posted::Taken);
        }
        assert_eq!(one.post_lifespan(ShardId(1), lifespan), Posted::Shed);
        two.give_back(from, parcel);
        one.flush();
        assert_eq!(two.next_arrival().map(|(_, parcel)| parcel.lifespans.len()), Some(1024));
        assert!(two.next_arrival().is_none() && one.is_flushed());
    }

    #[test]
    fn datagrams_and_messages_arrive_together_and_in_order() {
        let (mut one, mut two) = pair(8);
        for n in 0..5 {
            assert_eq!(one.post_datagram(ShardId(1), None, flow(), &[n; 2]), Posted::Taken);
            assert_eq!(one.post_peer(ShardId(1), u32::from(n)), Posted::Taken);
        }
        one.flush();
        assert!(one.is_flushed());
        let expected = (vec![0, 0, 1, 1, 2, 2, 3, 3, 4, 4], vec![0, 1, 2, 3, 4]);
        assert_eq!(open(&mut two), Some(expected));
        assert_eq!(open(&mut two), None);
    }

    #[test]
    fn a_full_lane_sheds_and_takes_again_when_a_parcel_comes_back() {
        let (mut one, mut two) = pair(2);
        let mut taken = 0;
        while one.post_datagram(ShardId(1), None, flow(), b"x") == Posted::Taken {
            taken += 1;
        }
        // Two parcels on their way and one pending.
        assert_eq!(taken, 3 * PARCEL_DATAGRAMS_MAX);
        one.flush();
        assert!(!one.is_flushed());
        assert!(open(&mut two).is_some());
        assert_eq!(one.post_datagram(ShardId(1), None, flow(), b"x"), Posted::Taken);
    }

    #[test]
    fn messages_are_bounded_too() {
        let (mut one, _two) = pair(1);
        let mut taken = 0;
        while one.post_peer(ShardId(1), taken) == Posted::Taken {
            taken += 1;
        }
        assert_eq!(usize::try_from(taken), Ok(2 * PARCEL_PEERS_MAX));
    }

    #[test]
    fn a_receiver_that_is_behind_gets_larger_parcels() {
        let (mut one, mut two) = pair(8);
        for _ in 0..20 {
            assert_eq!(one.post_datagram(ShardId(1), None, flow(), b"x"), Posted::Taken);
            one.flush();
        }
        let mut sizes = Vec::new();
        while let Some((bytes, _)) = open(&mut two) {
            sizes.push(bytes.len());
            one.flush();
        }
        assert_eq!(sizes, [1, 1, 1, 1, 16]);
    }

    #[test]
    fn parcels_are_used_again() {
        let (mut one, mut two) = pair(8);
        for _ in 0..100 {
            assert_eq!(one.post_datagram(ShardId(1), None, flow(), b"x"), Posted::Taken);
            one.flush();
            assert!(open(&mut two).is_some());
        }
        assert_eq!(one.lane(ShardId(1)).expect("a lane").unmade, 7);
    }

    #[test]
    fn an_unknown_shard_and_oneself_are_refused() {
        let (mut one, _two) = pair(2);
        assert_eq!(one.post_datagram(ShardId(7), None, flow(), b"x"), Posted::Shed);
        assert_eq!(one.post_datagram(ShardId(0), None, flow(), b"x"), Posted::Shed);
    }
}
