//! Names to flows: what a shard remembers of DNS answers, and whom it lets wait for one.
//!
//! For: RFC 3263 as a shard sees it: a question goes out with the actions, the answer comes back as
//! an input, meanwhile other requests go on. Answers are remembered for their time to live.
//! Not here: the procedure itself, NAPTR, SRV and A/AAAA look-ups (`core/node`).
//! Invariants: one question is asked once while its answer is awaited; both tables are bounded.

use crate::entropy::Entropy;
use crate::limits::{RESOLVER_NAMES_MAX, RESOLVER_WAITERS_MAX};
use crate::message::{Scheme, Uri};
use crate::table::Map;
use crate::time::{Duration, Instant, secs};
use crate::transport::Transport;
use smallvec::SmallVec;
use std::net::SocketAddr;
use std::rc::Rc;

/// Answers are kept at least so long: those who asked look them up again.
const TTL_MIN: Duration = secs(1);
/// And at most so long (RFC 2181 §8 allows 68 years, a stale trunk is worse than a look-up).
const TTL_MAX: Duration = secs(3600);
/// How long a name that has no address is remembered (`dns_cache_negative_ttl` of Kamailio).
const TTL_NEGATIVE: Duration = secs(60);
/// How long a failure of the name servers is remembered.
const TTL_FAILURE: Duration = secs(5);

/// What is asked: the parts of a URI that RFC 3263 §4 looks at.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Question {
    /// The host name, in lower case, without a final dot.
    pub host: String,
    /// The port, when the URI has one: then SRV is not asked.
    pub port: Option<u16>,
    /// The transport, when the URI names one: then NAPTR is not asked.
    pub transport: Option<Transport>,
    /// Whether the URI's scheme is `sips`: only TLS will do.
    pub secure: bool,
}

impl Question {
    /// The question that a URI asks.
    pub fn of(uri: &Uri<'_>) -> Question {
        let name = uri.maddr().unwrap_or(uri.host).to_string().to_ascii_lowercase();
        let host = name.trim_end_matches('.').to_owned();
        let transport = uri.transport().and_then(|name| Transport::from_name(name.as_bytes()));
        Question { host, port: uri.port, transport, secure: uri.scheme == Scheme::Sips }
    }
}

/// One place where a name can be reached (RFC 2782).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// The protocol to speak there.
    pub transport: Transport,
    /// Address and port.
    pub address: SocketAddr,
    /// Lower ones are tried first. NAPTR order and SRV priority in one number.
    pub priority: u32,
    /// Share among those of one priority.
    pub weight: u16,
}

/// How a look-up ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Resolution {
    /// The places, and how long they may be remembered. None at all when the name cannot be reached
    /// from this node, whatever its addresses.
    Found(Vec<Place>, Duration),
    /// The name has no address.
    Unknown,
    /// No name server answered, or none could.
    Failed,
}

/// What the shard knows of a name.
#[derive(Clone, Debug)]
pub(crate) enum Known {
    /// Where it can be reached; an empty list when not from here.
    Places(Rc<[Place]>),
    /// It has no address.
    Nothing,
    /// Whoever could know did not answer.
    Failed,
    /// Somebody has to ask, and wait.
    Unasked,
}

struct Entry {
    known: Known,
    until: Instant,
}

/// A shard's memory of names. `W` is whoever waits for an answer.
pub(crate) struct Resolver<W> {
    known: Map<Question, Entry>,
    // Apart from the places, so that a flood of names that nobody has heard of displaces none.
    missing: Map<Question, Entry>,
    waiting: Map<Question, SmallVec<[W; 2]>>,
}

impl<W> Resolver<W> {
    pub(crate) fn new(key: (u64, u64)) -> Resolver<W> {
        Resolver { known: Map::new(key), missing: Map::new(key), waiting: Map::new(key) }
    }

    /// What is known of a name.
    pub(crate) fn look(&self, question: &Question, now: Instant) -> Known {
        let fresh = |entry: &&Entry| entry.until > now;
        let entry = self.known.get(question).filter(fresh);
        let entry = entry.or_else(|| self.missing.get(question).filter(fresh));
        entry.map_or(Known::Unasked, |entry| entry.known.clone())
    }

    /// Lets somebody wait. `Ok(true)` when the question must be asked, `Err` when too many wait.
    pub(crate) fn wait(&mut self, question: &Question, waiter: W) -> Result<bool, W> {
        if let Some(waiters) = self.waiting.get_mut(question) {
            if waiters.len() >= RESOLVER_WAITERS_MAX {
                return Err(waiter);
            }
            waiters.push(waiter);
            return Ok(false);
        }
        if self.waiting.len() >= RESOLVER_NAMES_MAX {
            return Err(waiter);
        }
        self.waiting.insert(question.clone(), SmallVec::from_iter([waiter]));
        Ok(true)
    }

    /// Somebody will look again later. `true` when the question must be asked.
    pub(crate) fn prompt(&mut self, question: &Question) -> bool {
        let asked = self.waiting.get(question).is_some();
        if asked || self.waiting.len() >= RESOLVER_NAMES_MAX {
            return false;
        }
        self.waiting.insert(question.clone(), SmallVec::new());
        true
    }

    /// Takes an answer, and hands out who waited for it.
    pub(crate) fn answer(
        &mut self,
        question: Question,
        resolution: Resolution,
        now: Instant,
    ) -> SmallVec<[W; 2]> {
        let waiters = self.waiting.remove(&question).unwrap_or_default();
        let (table, known, ttl) = match resolution {
            Resolution::Found(places, ttl) => {
                let ttl = ttl.clamp(TTL_MIN, TTL_MAX);
                (&mut self.known, Known::Places(Rc::from(places)), ttl)
            }
            Resolution::Unknown => (&mut self.missing, Known::Nothing, TTL_NEGATIVE),
            Resolution::Failed => (&mut self.missing, Known::Failed, TTL_FAILURE),
        };
        if table.len() >= RESOLVER_NAMES_MAX {
            table.clear();
        }
        table.insert(question, Entry { known, until: now + ttl });
        waiters
    }

    /// How many names are remembered: with addresses, without, and asked for.
    pub(crate) fn len(&self) -> [usize; 3] {
        [self.known.len(), self.missing.len(), self.waiting.len()]
    }

    /// Forgets every answer, for an operator who has changed a zone.
    pub(crate) fn forget(&mut self) {
        self.known.clear();
        self.missing.clear();
    }
}

/// The order in which places are tried: by priority, within one priority drawn by weight (RFC
/// 2782).
pub(crate) fn order(places: &[Place], entropy: &mut Entropy) -> SmallVec<[Place; 4]> {
    let mut rest: SmallVec<[Place; 4]> = SmallVec::from_slice(places);
    rest.sort_by_key(|place| (place.priority, place.weight));
    let mut ordered = SmallVec::new();
    while let Some(first) = rest.first() {
        let priority = first.priority;
        let group = rest.iter().take_while(|place| place.priority == priority);
        let total: u64 = group.map(|place| u64::from(place.weight)).sum();
        // A draw of 0 picks the first, so that a weight of 0 keeps a very small chance.
        let draw = entropy.below(total + 1);
        let mut sum = 0;
        let chosen = rest.iter().position(|place| {
            sum += u64::from(place.weight);
            place.priority == priority && sum >= draw
        });
        ordered.push(rest.remove(chosen.unwrap_or(0)));
    }
    ordered
}

#[cfg(test)]
mod tests {
    use super::*;

    fn question(uri: &str) -> Question {
        Question::of(&Uri::parse(uri.as_bytes()).expect("a URI"))
    }

    fn place(last: u8, priority: u32, weight: u16) -> Place {
        let address = SocketAddr::from(([192, 0, 2, last], 5060));
        Place { transport: Transport::Udp, address, priority, weight }
    }

    #[test]
    fn names_have_no_case() {
        assert_eq!(question("sip:a@Example.COM."), question("sip:example.com"));
        assert_ne!(question("sip:example.com:5060"), question("sip:example.com"));
        assert_ne!(question("sip:example.com;transport=tcp"), question("sip:example.com"));
    }

    #[test]
    fn a_question_is_asked_once() {
        let mut resolver = Resolver::new((1, 2));
        let name = question("sip:example.com");
        assert_eq!(resolver.wait(&name, 1), Ok(true));
        assert_eq!(resolver.wait(&name, 2), Ok(false));
        let found = Resolution::Found(vec![place(1, 0, 0)], secs(30));
        let waiters = resolver.answer(name.clone(), found, Instant::START);
        assert_eq!(waiters.as_slice(), [1, 2]);
        assert!(matches!(resolver.look(&name, Instant::START + secs(29)), Known::Places(_)));
        assert!(matches!(resolver.look(&name, Instant::START + secs(31)), Known::Unasked));
    }

    #[test]
    fn a_missing_name_is_remembered_for_a_while() {
        let mut resolver = Resolver::<u8>::new((1, 2));
        let name = question("sip:nowhere.example");
        resolver.answer(name.clone(), Resolution::Unknown, Instant::START);
        assert!(matches!(resolver.look(&name, Instant::START + secs(59)), Known::Nothing));
        resolver.forget();
        assert!(matches!(resolver.look(&name, Instant::START), Known::Unasked));
    }

    #[test]
    fn a_failure_is_not_an_answer_and_soon_forgotten() {
        let mut resolver = Resolver::<u8>::new((1, 2));
        let name = question("sip:lost.example");
        resolver.answer(name.clone(), Resolution::Failed, Instant::START);
        assert!(matches!(resolver.look(&name, Instant::START + secs(4)), Known::Failed));
        assert!(matches!(resolver.look(&name, Instant::START + secs(5)), Known::Unasked));
    }

    #[test]
    fn too_many_who_wait_are_refused() {
        let mut resolver = Resolver::new((1, 2));
        let name = question("sip:slow.example");
        let refused = (0..=RESOLVER_WAITERS_MAX).filter(|n| resolver.wait(&name, *n).is_err());
        assert_eq!(refused.count(), 1);
    }

    #[test]
    fn the_number_of_names_is_bounded_and_missing_ones_displace_none() {
        let mut resolver = Resolver::<u8>::new((1, 2));
        let trunk = question("sip:trunk.example");
        let found = Resolution::Found(vec![place(1, 0, 0)], secs(30));
        resolver.answer(trunk.clone(), found.clone(), Instant::START);
        for n in 0..2 * RESOLVER_NAMES_MAX {
            let name = question(&format!("sip:h{n}.example"));
            resolver.answer(name, Resolution::Unknown, Instant::START);
        }
        assert!(resolver.missing.len() <= RESOLVER_NAMES_MAX);
        assert!(matches!(resolver.look(&trunk, Instant::START), Known::Places(_)));
        for n in 0..2 * RESOLVER_NAMES_MAX {
            let name = question(&format!("sip:h{n}.example"));
            resolver.answer(name, found.clone(), Instant::START);
        }
        assert!(resolver.known.len() <= RESOLVER_NAMES_MAX);
    }

    #[test]
    fn priorities_come_first_and_weights_share() {
        let places = [place(1, 20, 0), place(2, 10, 30), place(3, 10, 10)];
        let mut entropy = Entropy::new((1, 2));
        let mut first = [0u32; 4];
        for _ in 0..4000 {
            let ordered = order(&places, &mut entropy);
            assert_eq!(ordered.len(), 3);
            assert_eq!(ordered[2], places[0]);
            first[if ordered[0] == places[1] { 2 } else { 3 }] += 1;
        }
        assert!((2700..3300).contains(&first[2]), "{first:?}");
    }
}
