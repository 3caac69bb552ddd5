//! From a URI's parts to the places behind them: RFC 3263 §4.1 and §4.2.
//!
//! For: which records are asked for, in which order, and what their priorities come to.
//! Not here: numeric hosts, which nobody asks for; drawing lots by weight, which the shard does anew for
//! each request (`core/sip/src/proxy/resolver.rs`).
//! Invariants: a failure of name servers never passes for a name that does not exist; records beyond
//! the bounds are ignored, so that a zone cannot make this node ask without end.

use super::lookup::{Answer, Family, Lookup, Naptr, Srv};
use super::reach::Reach;
use futures_util::future::{join, join_all};
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;
use strowger_sip::resolver::{Place, Question, Resolution};
use strowger_sip::time::secs;
use strowger_sip::transport::Transport;

/// NAPTR records of one name that are followed; zones in use have one for each of three transports.
const NAPTR_RECORDS_MAX: usize = 8;
/// SRV records of one name that are followed. A guess well above what carriers publish.
const SRV_RECORDS_MAX: usize = 16;
/// Addresses of one name and family that are used. A guess.
const ADDRESSES_MAX: usize = 8;
/// Places of one answer. A branch that has tried so many has outlived its caller.
const PLACES_MAX: usize = 32;
/// Weight of addresses that share without an SRV record: large, so that the small chance which RFC 2782
/// leaves to weight 0 gives the first of them no part worth mentioning.
const WEIGHT_EQUAL: u16 = 1000;
/// How long it is remembered that no listener could send to a name.
const TTL_OUT_OF_REACH: Duration = secs(60);

/// Transports of SIP that a name may offer, best first: the order in which SRV is asked.
const TRANSPORTS: [Transport; 3] = [Transport::Udp, Transport::Tcp, Transport::Tls];

/// Looks for the places that a question asks for.
pub(super) struct Procedure<'a, L> {
    pub(super) lookup: &'a L,
    pub(super) reach: &'a Reach,
    /// `dns_try_naptr`.
    pub(super) try_naptr: bool,
}

/// What is sorted by: NAPTR order and preference, SRV priority, and the family of a bare address.
type Rank = (u16, u16, u16, u8);

/// What some look-ups came to.
#[derive(Default)]
struct Found {
    places: Vec<(Rank, Place)>,
    ttl: Option<Duration>,
    // There were records, whatever they led to.
    exists: bool,
    failed: bool,
}

impl Found {
    fn failure() -> Found {
        Found { failed: true, ..Found::default() }
    }

    /// Adds what another look-up came to. Records that led nowhere have no say in the time to live.
    fn add(&mut self, other: Found) {
        if !other.places.is_empty() {
            self.ttl = self.ttl.into_iter().chain(other.ttl).min();
        }
        self.places.extend(other.places);
        self.exists |= other.exists;
        self.failed |= other.failed;
    }

    /// Bounds the time to live by that of the record that led here.
    fn within(mut self, ttl: Duration) -> Found {
        self.ttl = self.ttl.into_iter().chain([ttl]).min();
        self
    }

    /// The answer: ranks become priorities, numbered from 0.
    fn conclude(mut self) -> Resolution {
        self.places.sort_by_key(|(rank, _)| *rank);
        let mut places: Vec<Place> = Vec::new();
        let (mut last, mut priority) = (None, 0);
        for (rank, place) in self.places {
            let known = |other: &Place| {
                (other.transport, other.address) == (place.transport, place.address)
            };
            if places.iter().any(known) {
                continue;
            }
            priority += u32::from(last.is_some_and(|last| last != rank));
            last = Some(rank);
            places.push(Place { priority, ..place });
            if places.len() == PLACES_MAX {
                break;
            }
        }
        match (self.ttl, self.failed) {
            (Some(ttl), _) if !places.is_empty() => Resolution::Found(places, ttl),
            (_, true) => Resolution::Failed,
            (_, false) => Resolution::Unknown,
        }
    }
}

impl<L: Lookup> Procedure<'_, L> {
    /// Answers a question.
    pub(super) async fn answer(&self, question: &Question) -> Resolution {
        let allowed = self.allowed(question);
        let Some(fallback) = allowed.first().copied() else {
            return Resolution::Found(Vec::new(), TTL_OUT_OF_REACH);
        };
        let host = question.host.as_str();
        if let Some(port) = question.port.filter(|port| *port != 0) {
            return self.plain(host, fallback, port).await.conclude();
        }
        let mut found = Found::default();
        if question.transport.is_none() && self.try_naptr {
            found.add(self.by_naptr(host, &allowed).await);
        }
        let mut fallback_exists = false;
        for transport in allowed {
            if !found.places.is_empty() {
                return found.conclude();
            }
            let Some(name) = service(transport, host) else { continue };
            let offered = self.by_srv(&name, transport, (0, 0)).await;
            fallback_exists |= offered.exists && transport == fallback;
            found.add(offered);
        }
        // RFC 2782: who has SRV records has said all there is to say about the service.
        if found.places.is_empty() && !fallback_exists {
            found.add(self.plain(host, fallback, fallback.default_port()).await);
        }
        found.conclude()
    }

    /// The transports that the question allows and a listener has, best first. A port or a `sips` URI
    /// without transport means what RFC 3263 §4.1 says; with neither, whatever the name offers.
    fn allowed(&self, question: &Question) -> Vec<Transport> {
        let wanted: &[Transport] = match (question.secure, question.transport, question.port) {
            (true, Some(_) | None, _) => &[Transport::Tls],
            (false, Some(transport), _) => &[transport],
            (false, None, Some(_)) => &[Transport::Udp],
            (false, None, None) => &TRANSPORTS,
        };
        wanted.iter().copied().filter(|transport| self.reach.has(*transport)).collect()
    }

    async fn by_naptr(&self, host: &str, allowed: &[Transport]) -> Found {
        let (mut records, ttl) = match self.lookup.naptr(host).await {
            Answer::Found(records, ttl) => (records, ttl),
            Answer::Nothing => return Found::default(),
            Answer::Failed => return Found::failure(),
        };
        records.sort_by_key(|record| (record.order, record.preference));
        let followed = records.iter().filter_map(|record| {
            let transport = transport_of(&record.services)?;
            allowed.contains(&transport).then_some((transport, record))
        });
        let followed = followed.take(NAPTR_RECORDS_MAX);
        let mut found = Found::default();
        for each in join_all(followed.map(|(t, record)| self.follow(t, record))).await {
            found.add(each.within(ttl));
        }
        found
    }

    async fn follow(&self, transport: Transport, record: &Naptr) -> Found {
        let rank = (record.order, record.preference);
        match record.flags.as_slice() {
            b"s" | b"S" => self.by_srv(&record.replacement, transport, rank).await,
            b"a" | b"A" => {
                let port = transport.default_port();
                let mut found = self.plain(&record.replacement, transport, port).await;
                for ((order, preference, ..), _) in &mut found.places {
                    (*order, *preference) = rank;
                }
                found
            }
            // RFC 3263 §4.1 knows no other flags.
            _ => Found::default(),
        }
    }

    async fn by_srv(&self, name: &str, transport: Transport, above: (u16, u16)) -> Found {
        let (mut records, ttl) = match self.lookup.srv(name).await {
            Answer::Found(records, ttl) => (records, ttl),
            Answer::Nothing => return Found::default(),
            Answer::Failed => return Found::failure(),
        };
        records.sort_by_key(|record| (record.priority, u16::MAX - record.weight));
        records.truncate(SRV_RECORDS_MAX);
        let mut found = Found { exists: true, ..Found::default() };
        let targets = records.iter().map(|record| self.target(record, transport, above));
        for each in join_all(targets).await {
            found.add(each.within(ttl));
        }
        found
    }

    async fn target(&self, record: &Srv, transport: Transport, above: (u16, u16)) -> Found {
        let Some(target) = &record.target else { return Found::default() };
        let (addresses, ttl, failed) = self.addresses(target, transport).await;
        let places = share(record.weight, &addresses).into_iter().map(|(address, weight)| {
            let address = SocketAddr::new(address, record.port);
            let rank = (above.0, above.1, record.priority, 0);
            (rank, Place { transport, address, priority: 0, weight })
        });
        Found { places: places.collect(), ttl, exists: true, failed }
    }

    /// A name without service records: its addresses share, IPv6 behind IPv4.
    async fn plain(&self, host: &str, transport: Transport, port: u16) -> Found {
        let (addresses, ttl, failed) = self.addresses(host, transport).await;
        let places = addresses.into_iter().map(|address| {
            let rank = (0, 0, 0, u8::from(address.is_ipv6()));
            let address = SocketAddr::new(address, port);
            (rank, Place { transport, address, priority: 0, weight: WEIGHT_EQUAL })
        });
        Found { places: places.collect(), ttl, exists: true, failed }
    }

    /// IPv4 first; and whether a look-up failed.
    async fn addresses(
        &self,
        name: &str,
        transport: Transport,
    ) -> (Vec<IpAddr>, Option<Duration>, bool) {
        let (v4, v6) =
            join(self.family(name, transport, Family::V4), self.family(name, transport, Family::V6))
                .await;
        let (mut all, mut ttl, mut failed) = (Vec::new(), None, false);
        for answer in [v4, v6] {
            match answer {
                Answer::Found(addresses, for_so_long) => {
                    all.extend(addresses.into_iter().take(ADDRESSES_MAX));
                    ttl = ttl.into_iter().chain([for_so_long]).min();
                }
                Answer::Nothing => {}
                Answer::Failed => failed = true,
            }
        }
        (all, ttl, failed)
    }

    async fn family(&self, name: &str, transport: Transport, family: Family) -> Answer<IpAddr> {
        if !self.reach.has_family(transport, family) {
            return Answer::Nothing;
        }
        self.lookup.addresses(name, family).await
    }
}

/// Divides a target's weight among its addresses, so that many addresses do not make it weigh more. IPv6
/// beside IPv4 is kept for when nothing else is left.
fn share(weight: u16, addresses: &[IpAddr]) -> Vec<(IpAddr, u16)> {
    let preferred_is_v4 = addresses.first().is_some_and(IpAddr::is_ipv4);
    let sharers = addresses.iter().filter(|address| address.is_ipv4() == preferred_is_v4).count();
    let sharers = u16::try_from(sharers).unwrap_or(u16::MAX).max(1);
    let part = (weight / sharers).max(weight.min(1));
    let weigh = |address: &IpAddr| if address.is_ipv4() == preferred_is_v4 { part } else { 0 };
    addresses.iter().map(|address| (*address, weigh(address))).collect()
}

/// The name whose SRV records say where a host offers a transport; WebSocket has none.
fn service(transport: Transport, host: &str) -> Option<String> {
    match transport {
        Transport::Udp => Some(format!("_sip._udp.{host}")),
        Transport::Tcp => Some(format!("_sip._tcp.{host}")),
        Transport::Tls => Some(format!("_sips._tcp.{host}")),
        Transport::Ws | Transport::Wss => None,
    }
}

/// The transport behind a NAPTR record's services (RFC 3263 §4.1).
fn transport_of(services: &[u8]) -> Option<Transport> {
    const KNOWN: [(&str, Transport); 3] = [
        ("SIP+D2U", Transport::Udp),
        ("SIP+D2T", Transport::Tcp),
        ("SIPS+D2T", Transport::Tls),
    ];
    let known = KNOWN.iter().find(|(name, _)| name.as_bytes().eq_ignore_ascii_case(services));
    known.map(|(_, transport)| *transport)
}
