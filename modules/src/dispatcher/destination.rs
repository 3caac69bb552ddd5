//! A destination: where it is, what its attributes say, and in which state it is.
//!
//! For: one row of a list (Kamailio's table `dispatcher`, version 4), typed.
//! Not here: lists and their text form (`list.rs`), what moves a state (`health.rs`).
//! Invariants: a destination keeps its id through every reload, as long as its set and its `duid`
//! (or, without one, its URI) stay the same.

use siphasher::sip::SipHasher13;
use std::fmt;
use std::hash::Hasher;
use strowger_sip::message::Uri;

/// A set of destinations.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SetId(pub u32);

/// A destination's name through reloads, on every shard and after every start.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct DestinationId(u64);

impl DestinationId {
    fn new(set: SetId, name: &str) -> DestinationId {
        // No secret key: the id is the same on every node, and only the operator chooses names.
        let mut hasher = SipHasher13::new_with_keys(0, 0);
        hasher.write_u32(set.0);
        hasher.write(name.as_bytes());
        DestinationId(hasher.finish())
    }

    /// As octets, for finding the shard that owns the destination.
    pub(super) fn octets(self) -> [u8; 8] {
        self.0.to_be_bytes()
    }
}

/// One row of a list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Destination {
    /// Its set.
    pub set: SetId,
    /// Its SIP URI.
    pub uri: String,
    /// The state in which it begins.
    pub state: State,
    /// Its priority: the higher, the earlier.
    pub priority: i32,
    /// Its attributes.
    pub attributes: Attributes,
}

impl Destination {
    /// A destination without attributes, active.
    ///
    /// # Errors
    /// When the URI is no SIP URI.
    pub fn new(set: u32, uri: &str) -> Result<Destination, String> {
        let usable = Uri::parse(uri.as_bytes()).is_ok_and(|parsed| parsed.scheme.is_sip());
        if !usable || uri.len() > URI_BYTES_MAX {
            return Err(format!("{uri:?} is no SIP URI of at most {URI_BYTES_MAX} bytes"));
        }
        Ok(Destination {
            set: SetId(set),
            uri: uri.to_owned(),
            state: State::ACTIVE,
            priority: 0,
            attributes: Attributes::default(),
        })
    }

    /// Its id.
    pub fn id(&self) -> DestinationId {
        DestinationId::new(self.set, self.attributes.duid.as_deref().unwrap_or(&self.uri))
    }
}

/// Longest URI of a destination: the column of Kamailio's table.
pub const URI_BYTES_MAX: usize = 192;

/// Longest text of attributes. Kamailio's column holds 128, its list file more.
pub const ATTRS_BYTES_MAX: usize = 1024;

/// What `weight=50;duid=a;...` says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Attributes {
    /// The text itself, with what is not known here too.
    pub body: String,
    /// `duid`: a name of its own.
    pub duid: Option<String>,
    /// `maxload`: most calls at once; 0 for no bound.
    pub maxload: u32,
    /// `weight`: its part of 100 choices.
    pub weight: u32,
    /// `rweight`: its weight relative to the others that are active.
    pub rweight: u32,
    /// `socket`: from where requests to it are sent.
    pub socket: Option<String>,
    /// `ping_socket`: the same for probes.
    pub ping_socket: Option<String>,
    /// `sockname`: the name of a socket.
    pub sockname: Option<String>,
    /// `ping_from`: the From URI of probes.
    pub ping_from: Option<String>,
    /// `obproxy`: where probes are sent instead.
    pub obproxy: Option<String>,
    /// `latency`: an estimate to begin with, in milliseconds.
    pub latency_ms: u32,
    /// `cc`: congestion counts, not distance: latency beyond its average.
    pub congestion_control: bool,
    /// `ocmin`, `ocmax`: bounds of `ocrate`, in percent.
    pub overload_min: u8,
    /// See `overload_min`; 100 unless it is set.
    pub overload_max: Option<u8>,
    /// `ocrate`: how many of 100 requests are kept from it.
    pub overload_rate: u8,
}

impl Attributes {
    /// Reads a text of attributes.
    ///
    /// # Errors
    /// What is wrong with which attribute.
    pub fn parse(text: &str) -> Result<Attributes, String> {
        if text.len() > ATTRS_BYTES_MAX || text.contains(['\r', '\n', '\0']) {
            return Err(format!("attributes are one line of at most {ATTRS_BYTES_MAX} bytes"));
        }
        let body = text.to_owned();
        let mut attributes = Attributes { body, ..Attributes::default() };
        for pair in text.split(';').map(str::trim).filter(|pair| !pair.is_empty()) {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            let (name, value) = (name.trim(), value.trim());
            attributes.set(name, value).map_err(|allowed| {
                format!("attribute {name}: {value:?} cannot be used; allowed: {allowed}")
            })?;
        }
        if attributes.overload_max.is_some_and(|most| attributes.overload_min > most) {
            return Err("attribute ocmin is greater than ocmax".to_owned());
        }
        Ok(attributes)
    }

    fn set(&mut self, name: &str, value: &str) -> Result<(), &'static str> {
        const NUMBER: &str = "a number";
        const WEIGHT: &str = "0 to 100";
        let number = || value.parse::<u32>().map_err(|_| NUMBER);
        let percent = || value.parse::<u8>().ok().filter(|n| *n <= 100).ok_or(WEIGHT);
        let text = || (!value.is_empty()).then(|| value.to_owned()).ok_or("a text");
        let uri = || {
            let usable = Uri::parse(value.as_bytes()).is_ok_and(|uri| uri.scheme.is_sip());
            usable.then(|| value.to_owned()).ok_or("a SIP URI")
        };
        match name {
            "duid" => self.duid = Some(text()?),
            "maxload" => self.maxload = number()?,
            "weight" => self.weight = percent()?.into(),
            "rweight" => self.rweight = percent()?.into(),
            "socket" => self.socket = Some(text()?),
            "ping_socket" => self.ping_socket = Some(text()?),
            "sockname" => self.sockname = Some(text()?),
            "ping_from" => self.ping_from = Some(uri()?),
            "obproxy" => self.obproxy = Some(uri()?),
            "latency" => self.latency_ms = number()?,
            "cc" => self.congestion_control = number()? != 0,
            "ocmin" => self.overload_min = percent()?,
            "ocmax" => self.overload_max = Some(percent()?),
            "ocrate" => self.overload_rate = percent()?,
            // Others are for the routing, which reads the text.
            _ => {}
        }
        Ok(())
    }
}

/// Whether a destination may be chosen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Availability {
    /// It answers.
    Active,
    /// It failed, not often enough to be given up.
    Trying,
    /// It is given up until a probe or an operator says otherwise.
    Inactive,
    /// An operator has taken it out.
    Disabled,
}

/// A destination's state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct State {
    /// Whether it may be chosen.
    pub availability: Availability,
    /// Flagged for probing.
    pub probing: bool,
    /// Its name has no address.
    pub no_dns: bool,
    /// It is never probed.
    pub no_ping: bool,
}

impl State {
    /// Active, not flagged.
    pub const ACTIVE: State =
        State { availability: Availability::Active, probing: false, no_dns: false, no_ping: false };

    /// Reads the bits of a list: 1 inactive, 2 trying, 4 disabled, 8 probing, 16 no DNS, 32 no
    /// ping.
    pub fn from_bits(bits: u8) -> State {
        let availability = match bits & 7 {
            disabled if disabled & 4 != 0 => Availability::Disabled,
            inactive if inactive & 1 != 0 => Availability::Inactive,
            trying if trying & 2 != 0 => Availability::Trying,
            _ => Availability::Active,
        };
        State {
            availability,
            probing: bits & 8 != 0,
            no_dns: bits & 16 != 0,
            no_ping: bits & 32 != 0,
        }
    }

    /// Whether it may be chosen.
    pub fn is_usable(self) -> bool {
        match self.availability {
            Availability::Active | Availability::Trying => !self.no_dns,
            Availability::Inactive | Availability::Disabled => false,
        }
    }
}

impl fmt::Display for State {
    /// Kamailio's two letters: `AX`, `IP` ...
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let letter = match self.availability {
            Availability::Active => 'A',
            Availability::Trying => 'T',
            Availability::Inactive => 'I',
            Availability::Disabled => 'D',
        };
        write!(f, "{letter}{}", if self.probing { 'P' } else { 'X' })
    }
}

/// What `ds_mark_dst("tp")` and `dispatcher.set_state` ask for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mark {
    /// The state; `None` leaves it.
    pub availability: Option<Availability>,
    /// The flag; `None` leaves it.
    pub probing: Option<bool>,
}

impl Mark {
    /// It failed once more.
    pub const TRYING: Mark = Mark { availability: Some(Availability::Trying), probing: None };
    /// It failed once more, and is to be probed: `tp`.
    pub const TRYING_PROBING: Mark =
        Mark { availability: Some(Availability::Trying), probing: Some(true) };
    /// It answers.
    pub const ACTIVE: Mark = Mark { availability: Some(Availability::Active), probing: None };
    /// It is given up.
    pub const INACTIVE: Mark = Mark { availability: Some(Availability::Inactive), probing: None };
    /// It is given up until a probe is answered: `ip`.
    pub const INACTIVE_PROBING: Mark =
        Mark { availability: Some(Availability::Inactive), probing: Some(true) };
    /// It is taken out.
    pub const DISABLED: Mark = Mark { availability: Some(Availability::Disabled), probing: None };

    /// Reads one or two letters: `a`, `i`, `t` or `d`, then `p` or `x`.
    pub fn parse(text: &str) -> Option<Mark> {
        let mut letters = text.chars().map(|letter| letter.to_ascii_lowercase());
        let mut mark = match letters.next()? {
            'a' => Mark { probing: Some(false), ..Mark::ACTIVE },
            'i' => Mark { probing: Some(false), ..Mark::INACTIVE },
            't' => Mark { probing: Some(false), ..Mark::TRYING },
            'd' => Mark { probing: Some(false), ..Mark::DISABLED },
            'p' => Mark { availability: None, probing: Some(true) },
            _ => return None,
        };
        match letters.next() {
            None => {}
            Some('p') if mark.availability.is_some() => mark.probing = Some(true),
            Some('x') if mark.availability.is_some() => mark.probing = Some(false),
            Some(_) => return None,
        }
        letters.next().is_none().then_some(mark)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_id_is_the_duid_or_the_uri() {
        let make = |set, uri, attrs| {
            let destination = Destination::new(set, uri).expect("a destination");
            let attributes = Attributes::parse(attrs).expect("attributes");
            Destination { attributes, ..destination }.id()
        };
        assert_eq!(make(1, "sip:192.0.2.1", "duid=a"), make(1, "sip:192.0.2.2", "duid=a"));
        assert_ne!(make(1, "sip:192.0.2.1", ""), make(1, "sip:192.0.2.2", ""));
        assert_ne!(make(1, "sip:192.0.2.1", ""), make(2, "sip:192.0.2.1", ""));
        assert_eq!(make(1, "sip:192.0.2.1", ""), make(1, "sip:192.0.2.1", "weight=5"));
    }

    #[test]
    fn attributes_are_typed() {
        let attributes =
            Attributes::parse("weight=50;duid=gw1; maxload=7;cc=1;own=x;;obproxy=sip:192.0.2.9")
                .expect("attributes");
        assert_eq!((attributes.weight, attributes.maxload), (50, 7));
        assert_eq!(attributes.duid.as_deref(), Some("gw1"));
        assert!(attributes.congestion_control);
        for wrong in ["weight=101", "maxload=-1", "duid=", "obproxy=x", "ocmin=9;ocmax=8", "a\nb"] {
            assert!(Attributes::parse(wrong).is_err(), "{wrong:?}");
        }
    }

    #[test]
    fn states_read_and_show_as_kamailio_does() {
        let shown: Vec<String> =
            [0, 1, 2, 4, 8, 9, 10, 12].map(|bits| State::from_bits(bits).to_string()).to_vec();
        assert_eq!(shown, ["AX", "IX", "TX", "DX", "AP", "IP", "TP", "DP"]);
        assert!(!State::from_bits(16).is_usable());
        assert!(State::from_bits(2).is_usable());
    }

    #[test]
    fn marks_are_letters() {
        assert_eq!(Mark::parse("tp"), Some(Mark::TRYING_PROBING));
        assert_eq!(Mark::parse("IP"), Some(Mark::INACTIVE_PROBING));
        assert_eq!(Mark::parse("a").and_then(|mark| mark.probing), Some(false));
        for wrong in ["", "q", "pp", "apx", "px"] {
            assert_eq!(Mark::parse(wrong), None, "{wrong}");
        }
    }
}
