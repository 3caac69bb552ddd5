//! From a URI's parts to the places behind them: RFC 3263 §4.1 and §4.2.
//!
//! For: which records are asked for, in which order, and what their priorities come to.
//! Not here: numeric hosts, which nobody asks for; drawing lots by weight, which the shard does
//! anew for each request (`core/sip/src/proxy/resolver.rs`).
//! Invariants: a failure of name servers never passes for a name that does not exist; records
//! beyond the bounds are ignored, so that a zone cannot make this node ask without end.

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
/// Weight of addresses that share without an SRV record: large, so that the small chance which RFC
/// 2782 leaves to weight 0 gives the first of them no part worth mentioning.
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

    /// The transports that the question allows and a listener has, best first. A port or a `sips`
    /// URI without transport means what RFC 3263 §4.1 says; with neither, whatever the name offers.
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
        let (v4, v6) = join(
            self.family(name, transport, Family::V4),
            self.family(name, transport, Family::V6),
        )
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

/// Divides a target's weight among its addresses, so that many addresses do not make it weigh more.
/// IPv6 beside IPv4 is kept for when nothing else is left.
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
    const KNOWN: [(&str, Transport); 3] =
        [("SIP+D2U", Transport::Udp), ("SIP+D2T", Transport::Tcp), ("SIPS+D2T", Transport::Tls)];
    let known = KNOWN.iter().find(|(name, _)| name.as_bytes().eq_ignore_ascii_case(services));
    known.map(|(_, transport)| *transport)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::RefCell;
    use strowger_sip::message::Uri;
    use strowger_sip::transport::{Listener, Listeners};

    /// A zone of lines `NAME TTL TYPE DATA`, or `NAME TYPE fails`.
    struct Zone {
        text: &'static str,
        asked: RefCell<Vec<String>>,
    }

    impl Zone {
        fn find<T>(&self, name: &str, kind: &str, read: fn(&[&str]) -> T) -> Answer<T> {
            self.asked.borrow_mut().push(format!("{kind} {name}"));
            let (mut found, mut least) = (Vec::new(), u64::MAX);
            for line in self.text.lines() {
                let words: Vec<&str> = line.split_whitespace().collect();
                match words.as_slice() {
                    [of, what, "fails"] if *of == name && *what == kind => return Answer::Failed,
                    [of, ttl, what, data @ ..] if *of == name && *what == kind => {
                        least = least.min(ttl.parse().expect("a time to live"));
                        found.push(read(data));
                    }
                    [..] => {}
                }
            }
            if found.is_empty() { Answer::Nothing } else { Answer::Found(found, secs(least)) }
        }
    }

    fn number(word: &str) -> u16 {
        word.parse().expect("a number")
    }

    impl Lookup for Zone {
        async fn naptr(&self, name: &str) -> Answer<Naptr> {
            self.find(name, "NAPTR", |data| Naptr {
                order: number(data[0]),
                preference: number(data[1]),
                flags: data[2].as_bytes().to_vec(),
                services: data[3].as_bytes().to_vec(),
                replacement: data[4].to_owned(),
            })
        }

        async fn srv(&self, name: &str) -> Answer<Srv> {
            self.find(name, "SRV", |data| Srv {
                priority: number(data[0]),
                weight: number(data[1]),
                port: number(data[2]),
                target: (data[3] != ".").then(|| data[3].to_owned()),
            })
        }

        async fn addresses(&self, name: &str, family: Family) -> Answer<IpAddr> {
            let kind = match family {
                Family::V4 => "A",
                Family::V6 => "AAAA",
            };
            self.find(name, kind, |data| data[0].parse().expect("an address"))
        }
    }

    /// What a node with these listeners makes of a URI: its answer, and what it asked.
    fn ask(listeners: &str, uri: &str, text: &'static str) -> (Resolution, Vec<String>) {
        let listeners = listeners.split_whitespace().map(|text| {
            let (transport, host) = text.split_once(':').expect("a transport");
            let transport = Transport::from_name(transport.as_bytes()).expect("a transport");
            let bound = SocketAddr::new(host.parse().expect("an address"), 5060);
            Listener { transport, bound, advertised: bound.to_string() }
        });
        let reach = Reach::of(&Listeners::new(listeners.collect()), true);
        let zone = Zone { text, asked: RefCell::default() };
        let procedure = Procedure { lookup: &zone, reach: &reach, try_naptr: true };
        let question = Question::of(&Uri::parse(uri.as_bytes()).expect("a URI"));
        let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
        let resolution = runtime.block_on(procedure.answer(&question));
        (resolution, zone.asked.into_inner())
    }

    /// `priority weight transport address` of each place, and the time to live.
    fn found(listeners: &str, uri: &str, text: &'static str) -> (Vec<String>, u64) {
        let (resolution, asked) = ask(listeners, uri, text);
        let Resolution::Found(places, ttl) = resolution else {
            panic!("{uri}: {resolution:?} after {asked:?}")
        };
        let show = |place: &Place| {
            format!("{} {} {} {}", place.priority, place.weight, place.transport, place.address)
        };
        (places.iter().map(show).collect(), ttl.as_secs())
    }

    const V4: &str = "udp:192.0.2.254";
    const BOTH: &str = "udp:192.0.2.254 udp:2001:db8::254";

    #[test]
    fn a_port_asks_for_addresses_alone() {
        let zone = "a.test 60 A 192.0.2.1\na.test 30 AAAA 2001:db8::1";
        let (places, ttl) = found(BOTH, "sip:a.test:5070", zone);
        assert_eq!(places, ["0 1000 udp 192.0.2.1:5070", "1 1000 udp [2001:db8::1]:5070"]);
        assert_eq!(ttl, 30);
        let (_, asked) = ask(V4, "sip:a.test:5070", zone);
        assert_eq!(asked, ["A a.test"]);
    }

    #[test]
    fn naptr_then_srv_then_addresses() {
        let (resolution, asked) = ask(V4, "sip:a.test", "");
        assert_eq!(resolution, Resolution::Unknown);
        assert_eq!(asked, ["NAPTR a.test", "SRV _sip._udp.a.test", "A a.test"]);
        let (places, _) = found(V4, "sip:a.test", "a.test 60 A 192.0.2.1");
        assert_eq!(places, ["0 1000 udp 192.0.2.1:5060"]);
    }

    #[test]
    fn srv_priorities_and_weights() {
        let zone = "_sip._udp.a.test 90 SRV 20 0 5080 two.test\n\
                    _sip._udp.a.test 90 SRV 10 60 5070 one.test\n\
                    one.test 40 A 192.0.2.1\none.test 40 A 192.0.2.3\none.test 9 AAAA 2001:db8::1\n\
                    two.test 50 A 192.0.2.2\n";
        let (places, ttl) = found(BOTH, "sip:a.test", zone);
        let expected = [
            "0 30 udp 192.0.2.1:5070",
            "0 30 udp 192.0.2.3:5070",
            "0 0 udp [2001:db8::1]:5070",
            "1 0 udp 192.0.2.2:5080",
        ];
        assert_eq!((places.as_slice(), ttl), (expected.map(str::to_owned).as_slice(), 9));
    }

    #[test]
    fn naptr_orders_transports_and_those_without_a_listener_are_left_out() {
        let zone = "a.test 100 NAPTR 90 50 s SIP+D2T _sip._tcp.a.test\n\
                    a.test 100 NAPTR 50 50 S SIPS+D2T _sips._tcp.a.test\n\
                    a.test 100 NAPTR 90 20 s sip+d2u srv.test\n\
                    a.test 100 NAPTR 10 10 u E2U+sip nothing.test\n\
                    srv.test 20 SRV 5 1 5062 one.test\n\
                    _sip._tcp.a.test 80 SRV 0 1 5063 one.test\n\
                    one.test 70 A 192.0.2.1\n";
        let listeners = "tcp:192.0.2.254 udp:192.0.2.254";
        let (places, ttl) = found(listeners, "sip:a.test", zone);
        assert_eq!(places, ["0 1 udp 192.0.2.1:5062", "1 1 tcp 192.0.2.1:5063"]);
        assert_eq!(ttl, 20);
        let (places, _) = found(V4, "sip:a.test", zone);
        assert_eq!(places, ["0 1 udp 192.0.2.1:5062"]);
        let (places, _) =
            found(V4, "sip:a.test", "a.test 9 NAPTR 1 1 a SIP+D2U b.test\nb.test 9 A 192.0.2.2");
        assert_eq!(places, ["0 1000 udp 192.0.2.2:5060"]);
    }

    #[test]
    fn a_transport_leaves_naptr_out() {
        let zone = "_sip._tcp.a.test 60 SRV 0 0 5070 one.test\none.test 60 A 192.0.2.1";
        let (places, _) = found("tcp:192.0.2.254", "sip:a.test;transport=tcp", zone);
        assert_eq!(places, ["0 0 tcp 192.0.2.1:5070"]);
        let (_, asked) = ask("ws:192.0.2.254", "sip:a.test;transport=ws", "");
        assert_eq!(asked, ["A a.test"]);
    }

    #[test]
    fn sips_is_tls_whatever_else_is_offered() {
        let zone = "a.test 60 NAPTR 1 1 s SIP+D2U _sip._udp.a.test\n\
                    _sip._udp.a.test 60 SRV 0 0 5060 one.test\n\
                    _sips._tcp.a.test 60 SRV 0 0 5071 one.test\none.test 60 A 192.0.2.1";
        let listeners = "udp:192.0.2.254 tls:192.0.2.254";
        assert_eq!(found(listeners, "sips:a.test", zone).0, ["0 0 tls 192.0.2.1:5071"]);
        assert_eq!(found(listeners, "sips:one.test", zone).0, ["0 1000 tls 192.0.2.1:5061"]);
        assert_eq!(found(listeners, "sips:one.test:99", zone).0, ["0 1000 tls 192.0.2.1:99"]);
    }

    #[test]
    fn nobody_is_asked_for_what_no_listener_can_reach() {
        for uri in ["sips:a.test", "sip:a.test;transport=tcp", "sip:a.test:99;transport=tls"] {
            let (resolution, asked) = ask(V4, uri, "a.test 60 A 192.0.2.1");
            assert_eq!(resolution, Resolution::Found(Vec::new(), TTL_OUT_OF_REACH));
            assert!(asked.is_empty(), "{asked:?}");
        }
    }

    #[test]
    fn a_service_that_is_not_offered_is_not_replaced_by_addresses() {
        let zone = "_sip._udp.a.test 60 SRV 0 0 0 .\na.test 60 A 192.0.2.1";
        assert_eq!(ask(V4, "sip:a.test", zone).0, Resolution::Unknown);
        // Another transport may be.
        let zone = "_sip._udp.a.test 60 SRV 0 0 0 .\n_sip._tcp.a.test 60 SRV 0 0 1 a.test\n\
                    a.test 60 A 192.0.2.1";
        let listeners = "udp:192.0.2.254 tcp:192.0.2.254";
        assert_eq!(found(listeners, "sip:a.test", zone).0, ["0 0 tcp 192.0.2.1:1"]);
    }

    #[test]
    fn a_failure_is_told_apart_and_does_not_end_the_search() {
        let broken = "a.test NAPTR fails\n_sip._udp.a.test SRV fails\na.test 60 A 192.0.2.1";
        assert_eq!(found(V4, "sip:a.test", broken).0, ["0 1000 udp 192.0.2.1:5060"]);
        for zone in ["a.test NAPTR fails", "_sip._udp.a.test SRV fails", "a.test A fails"] {
            assert_eq!(ask(V4, "sip:a.test", zone).0, Resolution::Failed, "{zone}");
        }
        let half = "_sip._udp.a.test 60 SRV 1 0 5060 one.test\n\
                    _sip._udp.a.test 60 SRV 2 0 5060 two.test\none.test A fails\n\
                    two.test 60 A 192.0.2.2";
        assert_eq!(found(V4, "sip:a.test", half).0, ["0 0 udp 192.0.2.2:5060"]);
    }

    #[test]
    fn many_addresses_do_not_make_a_target_weigh_more() {
        let addresses = |text: &str| -> Vec<IpAddr> {
            text.split_whitespace().map(|word| word.parse().expect("an address")).collect()
        };
        let weights = |weight, text: &str| -> Vec<u16> {
            share(weight, &addresses(text)).into_iter().map(|(_, weight)| weight).collect()
        };
        assert_eq!(weights(10, "192.0.2.1"), [10]);
        assert_eq!(weights(10, "192.0.2.1 192.0.2.2 192.0.2.3"), [3, 3, 3]);
        assert_eq!(weights(1, "192.0.2.1 192.0.2.2"), [1, 1]);
        assert_eq!(weights(0, "192.0.2.1 192.0.2.2"), [0, 0]);
        assert_eq!(weights(10, "192.0.2.1 ::1"), [10, 0]);
        assert_eq!(weights(10, "::1 ::2"), [5, 5]);
    }

    #[test]
    fn a_zone_cannot_make_it_ask_without_end() {
        let mut text = String::new();
        for n in 0..100 {
            text += &format!("a.test 60 NAPTR 1 {n} s SIP+D2U s{n}.test\n");
            for m in 0..100 {
                text += &format!("s{n}.test 60 SRV 1 1 {m} t{m}.test\n");
            }
            for m in 0..100 {
                text += &format!("t{n}.test 60 A 192.0.{m}.{n}\n");
            }
        }
        let (resolution, asked) = ask(V4, "sip:a.test", text.leak());
        let Resolution::Found(places, _) = resolution else { panic!("{resolution:?}") };
        assert_eq!(places.len(), PLACES_MAX);
        let most = 1 + NAPTR_RECORDS_MAX * (1 + SRV_RECORDS_MAX);
        assert!(asked.len() <= most, "{}", asked.len());
    }
}
