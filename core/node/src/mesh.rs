//! Lanes between shards: every pair exchanges parcels of datagrams and engine messages.
//!
//! For: handing datagrams over to their home shard, batched, bounded, without waiting or allocating.
//! Not here: deciding which shard is home (`shard.rs`).
//! Invariants: each lane owns a fixed number of parcels, so what is in flight is bounded and a full
//! lane is seen before anything is sent; what finds no room is refused to the caller, who counts it.
//!
//! glommio's `shared_channel` is used rather than its `channel_mesh`, which is the same channels in a
//! matrix: the matrix numbers peers in the order of executor ids, not of shards, and counts references
//! to its builder without atomics from several threads.

use crate::bell::Bell;
use glommio::channels::shared_channel::{
    ConnectedReceiver, ConnectedSender, SharedReceiver, SharedSender, new_bounded,
};
use std::cell::Cell;
use std::collections::VecDeque;
use std::rc::Rc;
use std::sync::mpsc;
use strowger_sip::actions::Sends;
use strowger_sip::shard::ShardId;
use strowger_sip::transport::Flow;

/// Datagrams in one parcel. A guess: several turns of the loop at full batches.
const PARCEL_DATAGRAMS_MAX: usize = 256;
/// Bytes in one parcel; the datagram that passes it still fits. One largest datagram, or a hundred usual ones.
const PARCEL_BYTES_MAX: usize = 65_536;
/// Engine messages in one parcel. A guess.
const PARCEL_PEERS_MAX: usize = 1024;
/// Parcels in flight up to which even a small one is sent at once. Beyond, the receiver is behind and
/// gains nothing from many small parcels, which would use up the lane's number of them.
const EAGER_PARCELS: usize = 4;

/// What `[mesh]` says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MeshSettings {
    /// Parcels that may be in flight from one shard to another.
    pub capacity: usize,
}

impl Default for MeshSettings {
    /// 128 parcels hold at least 8 MiB of datagrams, as much as the socket buffer of the shard that sends.
    fn default() -> MeshSettings {
        MeshSettings { capacity: 128 }
    }
}

/// Datagrams with the flow they came on, and engine messages, on their way to one shard.
#[derive(Debug)]
pub(crate) struct Parcel<P> {
    /// In order of arrival; a [`Sends`] because that is a list of flows with bytes in one arena.
    pub(crate) datagrams: Sends,
    /// In order of sending.
    pub(crate) peers: Vec<P>,
}

impl<P> Parcel<P> {
    fn new() -> Parcel<P> {
        Parcel { datagrams: Sends::default(), peers: Vec::new() }
    }

    fn is_empty(&self) -> bool {
        self.datagrams.is_empty() && self.peers.is_empty()
    }

    fn has_room_for_datagram(&self) -> bool {
        self.datagrams.len() < PARCEL_DATAGRAMS_MAX && self.datagrams.bytes() < PARCEL_BYTES_MAX
    }

    fn has_room_for_peer(&self) -> bool {
        self.peers.len() < PARCEL_PEERS_MAX
    }

    fn clear(&mut self) {
        self.datagrams.clear();
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

/// The ends of all lanes of one shard, before its executor runs.
#[derive(Debug)]
pub(crate) struct Endpoint<P: Send> {
    outgoing: Vec<Outgoing<P>>,
    incoming: Vec<Incoming<P>>,
    capacity: usize,
}

/// Parcels leave, and come back empty.
#[derive(Debug)]
struct Outgoing<P: Send> {
    to: ShardId,
    end: SharedSender<Parcel<P>>,
    returned: mpsc::Receiver<Parcel<P>>,
}

/// Parcels arrive, and go back empty.
#[derive(Debug)]
struct Incoming<P: Send> {
    from: ShardId,
    end: SharedReceiver<Parcel<P>>,
    give_back: mpsc::SyncSender<Parcel<P>>,
}

/// Lanes between every two of `shards` shards; one endpoint per shard, in order.
pub(crate) fn lanes<P: Send>(shards: u16, settings: &MeshSettings) -> Vec<Endpoint<P>> {
    let capacity = settings.capacity.max(1);
    let mut endpoints: Vec<Endpoint<P>> = (0..shards)
        .map(|_| Endpoint { outgoing: Vec::new(), incoming: Vec::new(), capacity })
        .collect();
    for from in 0..shards {
        for to in (0..shards).filter(|to| *to != from) {
            let (sender, receiver) = new_bounded(capacity);
            let (give_back, returned) = mpsc::sync_channel(capacity);
            let outgoing = Outgoing { to: ShardId(to), end: sender, returned };
            let incoming = Incoming { from: ShardId(from), end: receiver, give_back };
            endpoints[usize::from(from)].outgoing.push(outgoing);
            endpoints[usize::from(to)].incoming.push(incoming);
        }
    }
    endpoints
}

/// Parcels that arrived and wait for the shard loop.
struct Arrivals<P> {
    queue: Cell<VecDeque<(ShardId, Parcel<P>)>>,
    bell: Rc<Bell>,
}

/// One shard's view of all lanes.
pub(crate) struct Mesh<P: Send + 'static> {
    // By shard; the place of the shard itself stays empty.
    outgoing: Vec<Option<Lane<P>>>,
    give_back: Vec<Option<mpsc::SyncSender<Parcel<P>>>>,
    arrivals: Rc<Arrivals<P>>,
    _watchers: Vec<glommio::Task<()>>,
}

impl<P: Send + 'static> Mesh<P> {
    /// Connects all lanes; returns once every other shard does the same. Rings `bell` when parcels arrive.
    pub(crate) async fn connect(endpoint: Endpoint<P>, bell: Rc<Bell>) -> Mesh<P> {
        let Endpoint { outgoing, incoming, capacity } = endpoint;
        // All at once: each connection waits for its other end, and shards wait in different orders.
        let senders: Vec<_> = outgoing
            .into_iter()
            .map(|way| (way.to, way.returned, glommio::spawn_local(way.end.connect())))
            .collect();
        let receivers: Vec<_> = incoming
            .into_iter()
            .map(|way| (way.from, way.give_back, glommio::spawn_local(way.end.connect())))
            .collect();
        let queue = Cell::new(VecDeque::with_capacity(capacity));
        let arrivals = Rc::new(Arrivals { queue, bell });
        let shards = senders.len() + 1;
        let mut mesh = Mesh {
            outgoing: (0..shards).map(|_| None).collect(),
            give_back: (0..shards).map(|_| None).collect(),
            arrivals: Rc::clone(&arrivals),
            _watchers: Vec::with_capacity(shards),
        };
        for (to, returned, connecting) in senders {
            let lane = Lane::new(connecting.await, returned, capacity);
            mesh.outgoing[usize::from(to.0)] = Some(lane);
        }
        for (from, give_back, connecting) in receivers {
            mesh.give_back[usize::from(from.0)] = Some(give_back);
            let watch = watch(from, connecting.await, Rc::clone(&arrivals));
            mesh._watchers.push(glommio::spawn_local(watch));
        }
        mesh
    }

    /// Takes a datagram along to the shard it belongs to.
    pub(crate) fn post_datagram(&mut self, to: ShardId, flow: Flow, bytes: &[u8]) -> Posted {
        let Some(lane) = self.lane(to) else { return Posted::Shed };
        if !lane.pending.has_room_for_datagram() {
            lane.flush();
        }
        if !lane.pending.has_room_for_datagram() {
            return Posted::Shed;
        }
        lane.pending.datagrams.send(flow, bytes);
        Posted::Taken
    }

    /// Takes a message of the engine along to another shard.
    pub(crate) fn post_peer(&mut self, to: ShardId, message: P) -> Posted {
        let Some(lane) = self.lane(to) else { return Posted::Shed };
        if !lane.pending.has_room_for_peer() {
            lane.flush();
        }
        if !lane.pending.has_room_for_peer() {
            return Posted::Shed;
        }
        lane.pending.peers.push(message);
        Posted::Taken
    }

    /// Sends what was taken along, as far as parcels are at hand.
    pub(crate) fn flush(&mut self) {
        self.outgoing.iter_mut().flatten().for_each(Lane::flush);
    }

    /// Whether all that was taken along has left; what has not needs another `flush`.
    pub(crate) fn is_flushed(&self) -> bool {
        self.outgoing.iter().flatten().all(|lane| lane.pending.is_empty())
    }

    /// The next parcel that arrived.
    pub(crate) fn next_arrival(&mut self) -> Option<(ShardId, Parcel<P>)> {
        let mut queue = self.arrivals.queue.take();
        let next = queue.pop_front();
        self.arrivals.queue.set(queue);
        next
    }

    /// Returns a parcel to the shard it came from, which fills it again.
    pub(crate) fn give_back(&mut self, from: ShardId, mut parcel: Parcel<P>) {
        parcel.clear();
        if let Some(Some(lane)) = self.give_back.get(usize::from(from.0)) {
            // Never full, for it holds as many as the lane has parcels; closed only when the node stops.
            let _ = lane.try_send(parcel);
        }
    }

    fn lane(&mut self, to: ShardId) -> Option<&mut Lane<P>> {
        self.outgoing.get_mut(usize::from(to.0))?.as_mut()
    }
}

async fn watch<P: Send>(
    from: ShardId,
    lane: ConnectedReceiver<Parcel<P>>,
    arrivals: Rc<Arrivals<P>>,
) {
    while let Some(parcel) = lane.recv().await {
        let mut queue = arrivals.queue.take();
        queue.push_back((from, parcel));
        arrivals.queue.set(queue);
        arrivals.bell.ring();
    }
}

/// The way to one other shard.
struct Lane<P: Send> {
    sender: ConnectedSender<Parcel<P>>,
    pending: Parcel<P>,
    stock: Vec<Parcel<P>>,
    returned: mpsc::Receiver<Parcel<P>>,
    // Parcels that may still be made; with those in stock, what the lane can take.
    unmade: usize,
    capacity: usize,
}

impl<P: Send> Lane<P> {
    fn new(
        sender: ConnectedSender<Parcel<P>>,
        returned: mpsc::Receiver<Parcel<P>>,
        capacity: usize,
    ) -> Lane<P> {
        let stock = Vec::with_capacity(capacity);
        Lane { sender, pending: Parcel::new(), stock, returned, unmade: capacity, capacity }
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
        // Cannot be full: it holds as many as there are parcels. A closed lane means that the node stops.
        let _ = self.sender.try_send(parcel);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use glommio::{LocalExecutorBuilder, Placement};
    use strowger_sip::transport::ListenerId;

    fn flow() -> Flow {
        Flow::udp(ListenerId(0), "192.0.2.1:5060".parse().expect("an address"))
    }

    /// Runs `one` on shard 0 and `two` on shard 1, each with its mesh.
    fn pair<A, B>(capacity: usize, one: A, two: B)
    where
        A: AsyncFnOnce(Mesh<u32>, Rc<Bell>) + Send + 'static,
        B: AsyncFnOnce(Mesh<u32>, Rc<Bell>) + Send + 'static,
    {
        let mut ends = lanes(2, &MeshSettings { capacity }).into_iter();
        let (first, second) = (ends.next().expect("an end"), ends.next().expect("an end"));
        let builder = || LocalExecutorBuilder::new(Placement::Unbound).io_memory(1 << 16);
        let one = builder().spawn(move || async move {
            let bell = Rc::new(Bell::default());
            one(Mesh::connect(first, Rc::clone(&bell)).await, bell).await;
        });
        let two = builder().spawn(move || async move {
            let bell = Rc::new(Bell::default());
            two(Mesh::connect(second, Rc::clone(&bell)).await, bell).await;
        });
        one.expect("started").join().expect("joined");
        two.expect("started").join().expect("joined");
    }

    async fn flush_all(mesh: &mut Mesh<u32>) {
        mesh.flush();
        while !mesh.is_flushed() {
            glommio::timer::sleep(std::time::Duration::from_millis(1)).await;
            mesh.flush();
        }
    }

    #[test]
    fn datagrams_and_messages_arrive_in_order() {
        let (done, until_done) = flume::bounded::<()>(1);
        pair(
            8,
            async move |mut mesh, _| {
                for n in 0..100u8 {
                    assert_eq!(mesh.post_datagram(ShardId(1), flow(), &[n; 9]), Posted::Taken);
                    assert_eq!(mesh.post_peer(ShardId(1), u32::from(n)), Posted::Taken);
                    mesh.flush();
                }
                flush_all(&mut mesh).await;
                let _ = until_done.recv_async().await;
            },
            async move |mut mesh, bell| {
                let (mut bytes, mut messages) = (Vec::new(), Vec::new());
                while bytes.len() < 900 {
                    bell.wait().await;
                    while let Some((from, mut parcel)) = mesh.next_arrival() {
                        assert_eq!(from, ShardId(0));
                        parcel.datagrams.iter().for_each(|(_, b)| bytes.extend_from_slice(b));
                        messages.append(&mut parcel.peers);
                        mesh.give_back(from, parcel);
                    }
                }
                assert!(bytes.chunks(9).zip(0..).all(|(chunk, n)| chunk == [n; 9]));
                assert!(messages.into_iter().eq(0..100));
                drop(done);
            },
        );
    }

    #[test]
    fn a_full_lane_sheds_and_takes_again_when_parcels_come_back() {
        let (stalled, until_stalled) = flume::bounded::<()>(1);
        let (done, until_done) = flume::bounded::<()>(1);
        pair(
            2,
            async move |mut mesh, _| {
                let mut taken = 0;
                while mesh.post_datagram(ShardId(1), flow(), b"x") == Posted::Taken {
                    taken += 1;
                }
                // Two parcels on their way and one pending.
                assert_eq!(taken, 3 * PARCEL_DATAGRAMS_MAX);
                mesh.flush();
                assert!(!mesh.is_flushed());
                drop(stalled);
                flush_all(&mut mesh).await;
                assert_eq!(mesh.post_datagram(ShardId(1), flow(), b"x"), Posted::Taken);
                let _ = until_done.recv_async().await;
            },
            async move |mut mesh, bell| {
                let _ = until_stalled.recv_async().await;
                let mut count = 0;
                while count < 3 * PARCEL_DATAGRAMS_MAX {
                    bell.wait().await;
                    while let Some((from, parcel)) = mesh.next_arrival() {
                        count += parcel.datagrams.len();
                        mesh.give_back(from, parcel);
                    }
                }
                drop(done);
            },
        );
    }

    #[test]
    fn an_empty_datagram_and_an_unknown_shard_do_no_harm() {
        pair(
            2,
            async |mut mesh, _| {
                assert_eq!(mesh.post_datagram(ShardId(7), flow(), b"x"), Posted::Shed);
                assert_eq!(mesh.post_datagram(ShardId(0), flow(), b"x"), Posted::Shed);
                assert!(mesh.is_flushed());
            },
            async |_, _| {},
        );
    }
}
