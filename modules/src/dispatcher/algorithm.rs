//! The ways to choose among the destinations of a set.
//!
//! For: naming Kamailio's algorithms by what they do, with their numbers.
//! Not here: carrying them out (`select.rs`).

/// How a destination is chosen. Whatever the way, the other usable ones follow as a list to fail
/// over to; for most that is the order of the set, beginning after the chosen one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Algorithm {
    /// 0: hash of the Call-ID.
    CallIdHash,
    /// 1: hash of the From URI.
    FromHash,
    /// 2: hash of the To URI.
    ToHash,
    /// 3: hash of the Request-URI.
    RequestUriHash,
    /// 4: one after the other.
    RoundRobin,
    /// 5: hash of the user in Proxy-Authorization or Authorization; round robin without one.
    AuthUserHash,
    /// 6: any, each as likely.
    Random,
    /// 7: hash of a text that the routing gives (`hash_key`); round robin without one.
    KeyHash,
    /// 8: the first by priority.
    Serial,
    /// 9: by `weight`: each gets its share of 100 choices in a row, spread evenly among them. Of
    /// those without a weight, none is chosen first, unless none has any.
    Weight,
    /// 10: the one with the fewest calls, below its `maxload`; the others follow by their calls.
    CallLoad,
    /// 11: the same as 9 by `rweight` among those that are usable.
    RelativeWeight,
    /// 12: all at once.
    Parallel,
    /// 13: the highest priority after it was lowered by latency, round robin among equals; the
    /// others follow by that priority.
    Latency,
    /// 14: round robin among those of the highest priority; the others follow by priority.
    RoundRobinByPriority,
    /// 15: by priority, and among equals at random by `weight`, as SRV records are (RFC 2782).
    PriorityAndWeight,
    /// 64: round robin, but each is left out of `ocrate` in 100 turns. Nothing is chosen when all
    /// are left out.
    OverloadControl,
}

const ALL: [(u8, Algorithm); 17] = [
    (0, Algorithm::CallIdHash),
    (1, Algorithm::FromHash),
    (2, Algorithm::ToHash),
    (3, Algorithm::RequestUriHash),
    (4, Algorithm::RoundRobin),
    (5, Algorithm::AuthUserHash),
    (6, Algorithm::Random),
    (7, Algorithm::KeyHash),
    (8, Algorithm::Serial),
    (9, Algorithm::Weight),
    (10, Algorithm::CallLoad),
    (11, Algorithm::RelativeWeight),
    (12, Algorithm::Parallel),
    (13, Algorithm::Latency),
    (14, Algorithm::RoundRobinByPriority),
    (15, Algorithm::PriorityAndWeight),
    (64, Algorithm::OverloadControl),
];

impl Algorithm {
    /// The algorithm of this number in Kamailio.
    pub fn from_number(number: u8) -> Option<Algorithm> {
        ALL.iter().find(|(own, _)| *own == number).map(|(_, algorithm)| *algorithm)
    }

    /// Its number in Kamailio.
    pub fn number(self) -> u8 {
        ALL.iter().find(|(_, own)| *own == self).map_or(u8::MAX, |(number, _)| *number)
    }
}
