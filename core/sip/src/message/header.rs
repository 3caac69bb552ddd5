//! Header names: canonical and compact forms (RFC 3261 §7.3.3, §20, and the RFCs that added to
//! them).
//!
//! For: recognising a name once, with one table look-up, so that the rest of the tree compares
//! enums.
//! Not here: what the values mean (a file each), which headers stand where (`head.rs`).

use std::fmt;

/// How often a header may stand in one message.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Occurrence {
    /// Its grammar holds one value: a second one contradicts the first.
    Once,
    /// A list, or harmless when repeated.
    Many,
}

/// Defines names, compact forms and occurrence in one list, so that they cannot disagree.
macro_rules! header_names {
    ($($variant:ident = $canonical:literal, $compact:literal, $occurrence:ident;)+) => {
        /// A header's name.
        #[derive(Clone, Copy, PartialEq, Eq, Hash)]
        #[repr(u8)]
        pub enum HeaderName {
            $(#[doc = $canonical] $variant,)+
            /// A header this element has no name for.
            Other,
            /// No header: the first line of a message, in errors only.
            StartLine,
        }

        /// Every known header, in the order of the enum.
        const NAMED: &[(HeaderName, &str, u8, Occurrence)] =
            &[$((HeaderName::$variant, $canonical, $compact, Occurrence::$occurrence),)+];
    };
}

header_names! {
    Accept = "Accept", 0, Many;
    AcceptContact = "Accept-Contact", b'a', Many;
    AcceptEncoding = "Accept-Encoding", 0, Many;
    AcceptLanguage = "Accept-Language", 0, Many;
    AlertInfo = "Alert-Info", 0, Many;
    Allow = "Allow", 0, Many;
    AllowEvents = "Allow-Events", b'u', Many;
    AuthenticationInfo = "Authentication-Info", 0, Many;
    Authorization = "Authorization", 0, Many;
    CallId = "Call-ID", b'i', Once;
    CallInfo = "Call-Info", 0, Many;
    Contact = "Contact", b'm', Many;
    ContentDisposition = "Content-Disposition", 0, Many;
    ContentEncoding = "Content-Encoding", b'e', Many;
    ContentLanguage = "Content-Language", 0, Many;
    ContentLength = "Content-Length", b'l', Once;
    ContentType = "Content-Type", b'c', Once;
    CSeq = "CSeq", 0, Once;
    Date = "Date", 0, Many;
    Diversion = "Diversion", 0, Many;
    ErrorInfo = "Error-Info", 0, Many;
    Event = "Event", b'o', Once;
    Expires = "Expires", 0, Once;
    FlowTimer = "Flow-Timer", 0, Once;
    From = "From", b'f', Once;
    HistoryInfo = "History-Info", 0, Many;
    Identity = "Identity", b'y', Many;
    InReplyTo = "In-Reply-To", 0, Many;
    Join = "Join", 0, Many;
    MaxBreadth = "Max-Breadth", 0, Once;
    MaxForwards = "Max-Forwards", 0, Once;
    MimeVersion = "MIME-Version", 0, Many;
    MinExpires = "Min-Expires", 0, Once;
    MinSe = "Min-SE", 0, Once;
    Organization = "Organization", 0, Many;
    PAccessNetworkInfo = "P-Access-Network-Info", 0, Many;
    PAssertedIdentity = "P-Asserted-Identity", 0, Many;
    PAssociatedUri = "P-Associated-URI", 0, Many;
    PChargingVector = "P-Charging-Vector", 0, Many;
    PPreferredIdentity = "P-Preferred-Identity", 0, Many;
    Path = "Path", 0, Many;
    Priority = "Priority", 0, Many;
    Privacy = "Privacy", 0, Many;
    ProxyAuthenticate = "Proxy-Authenticate", 0, Many;
    ProxyAuthenticationInfo = "Proxy-Authentication-Info", 0, Many;
    ProxyAuthorization = "Proxy-Authorization", 0, Many;
    ProxyRequire = "Proxy-Require", 0, Many;
    RAck = "RAck", 0, Once;
    Reason = "Reason", 0, Many;
    RecordRoute = "Record-Route", 0, Many;
    ReferSub = "Refer-Sub", 0, Many;
    ReferTo = "Refer-To", b'r', Once;
    ReferredBy = "Referred-By", b'b', Once;
    RejectContact = "Reject-Contact", b'j', Many;
    RemotePartyId = "Remote-Party-ID", 0, Many;
    Replaces = "Replaces", 0, Many;
    ReplyTo = "Reply-To", 0, Many;
    RequestDisposition = "Request-Disposition", b'd', Many;
    Require = "Require", 0, Many;
    RetryAfter = "Retry-After", 0, Once;
    Route = "Route", 0, Many;
    RSeq = "RSeq", 0, Once;
    SecurityClient = "Security-Client", 0, Many;
    SecurityServer = "Security-Server", 0, Many;
    SecurityVerify = "Security-Verify", 0, Many;
    Server = "Server", 0, Many;
    ServiceRoute = "Service-Route", 0, Many;
    SessionExpires = "Session-Expires", b'x', Once;
    SipEtag = "SIP-ETag", 0, Once;
    SipIfMatch = "SIP-If-Match", 0, Once;
    Subject = "Subject", b's', Many;
    SubscriptionState = "Subscription-State", 0, Once;
    Supported = "Supported", b'k', Many;
    Timestamp = "Timestamp", 0, Many;
    To = "To", b't', Once;
    Unsupported = "Unsupported", 0, Many;
    UserAgent = "User-Agent", 0, Many;
    Via = "Via", b'v', Many;
    Warning = "Warning", 0, Many;
    WwwAuthenticate = "WWW-Authenticate", 0, Many;
}

impl HeaderName {
    /// How many variants there are: the size of a table indexed by name.
    pub(super) const COUNT: usize = NAMED.len() + 2;

    /// Recognises a name in any case, long or compact.
    #[inline]
    pub fn from_bytes(name: &[u8]) -> HeaderName {
        let found = match name {
            [letter] => LETTERS[usize::from(letter & 31)],
            [first, .., last] => {
                let middle = name.get(name.len() / 2).copied().unwrap_or(0);
                TABLE[slot(name.len(), *first, *last, middle)]
            }
            [] => NONE,
        };
        let Some((candidate, canonical, compact, _)) = NAMED.get(usize::from(found)) else {
            return HeaderName::Other;
        };
        let matches = match name {
            [letter] => letter.to_ascii_lowercase() == *compact,
            _ => name == canonical.as_bytes() || name.eq_ignore_ascii_case(canonical.as_bytes()),
        };
        if matches { *candidate } else { HeaderName::Other }
    }

    /// Recognises a known name of up to 15 octets that a colon follows at once, and tells its
    /// length. The line must hold no octet up to CR: only then does setting one bit make a letter
    /// of nothing else.
    #[inline]
    pub(super) fn before_colon(line: &[u8]) -> Option<(HeaderName, usize)> {
        let word = u64::from_le_bytes(*line.first_chunk()?);
        let colon = lowest_colon(word);
        let (key, length) = if colon != 0 {
            ([up_to(word, colon), 0], colon.trailing_zeros() / 8)
        } else {
            let second = u64::from_le_bytes(*line.get(8..)?.first_chunk()?);
            let colon = lowest_colon(second);
            if colon == 0 {
                return None;
            }
            ([word | LOWER_CASE, up_to(second, colon)], 8 + colon.trailing_zeros() / 8)
        };
        let found = *HASHED.get(hash(key))?;
        let (known, name) = KEYS.get(usize::from(found))?;
        (*known == key).then_some((*name, length as usize))
    }

    /// The name as the RFCs write it.
    pub fn canonical(self) -> &'static str {
        match NAMED.get(self as usize) {
            Some((_, canonical, _, _)) => canonical,
            None if self == HeaderName::StartLine => "start line",
            None => "extension header",
        }
    }

    /// The compact form, where there is one.
    pub fn compact(self) -> Option<char> {
        let (_, _, compact, _) = NAMED.get(self as usize)?;
        (*compact != 0).then_some(char::from(*compact))
    }

    /// Whether a second such header in a message is a mistake.
    pub fn is_single(self) -> bool {
        NAMED.get(self as usize).is_some_and(|(_, _, _, occurs)| *occurs == Occurrence::Once)
    }
}

impl fmt::Display for HeaderName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.canonical())
    }
}

impl fmt::Debug for HeaderName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.canonical())
    }
}

/// Marks an empty slot.
const NONE: u8 = u8::MAX;

const SLOTS: usize = 512;

/// Where a name stands in `TABLE`. The factors were found by trial: no two known names share a
/// slot, and building the table fails to compile when a new one does.
#[inline]
const fn slot(length: usize, first: u8, last: u8, middle: u8) -> usize {
    let letters = (first | 32) as usize * 229 + (last | 32) as usize * 414;
    (length.wrapping_mul(494) + letters + (middle | 32) as usize * 221) % SLOTS
}

static TABLE: [u8; SLOTS] = table();

const fn table() -> [u8; SLOTS] {
    let mut table = [NONE; SLOTS];
    let mut index = 0;
    while index < NAMED.len() {
        let name = NAMED[index].1.as_bytes();
        let at = slot(name.len(), name[0], name[name.len() - 1], name[name.len() / 2]);
        assert!(table[at] == NONE, "two header names share a slot: find other factors");
        assert!(NAMED[index].0 as usize == index, "NAMED is not in the order of the enum");
        table[at] = index as u8;
        index += 1;
    }
    table
}

/// A name of up to 15 octets in small letters, eight of them a word, the first one lowest.
type Key = [u64; 2];

/// One in each octet of a word.
const EACH: u64 = u64::from_le_bytes([1; 8]);

/// The bit that small letters have and capitals have not.
const LOWER_CASE: u64 = EACH << 5;

/// The highest bit of the first octet that is a colon; 0 when none is.
#[inline]
fn lowest_colon(word: u64) -> u64 {
    let differing = word ^ (EACH * b':' as u64);
    let colons = differing.wrapping_sub(EACH) & !differing & (EACH << 7);
    colons & colons.wrapping_neg()
}

/// The octets before the one that a colon was found in.
#[inline]
fn up_to(word: u64, colon: u64) -> u64 {
    (word | LOWER_CASE) & ((colon >> 7) - 1)
}

/// Found by trial, like the factors of `slot`.
const FACTOR: u64 = 0x8349_7471_d024_6ccb;

/// Where a key stands in `HASHED`.
#[inline]
const fn hash([first, second]: Key) -> usize {
    ((first ^ second.rotate_left(31)).wrapping_mul(FACTOR) >> 55) as usize
}

/// Long names and compact forms.
static KEYS: [(Key, HeaderName); KEYS_COUNT] = keys();

const KEYS_COUNT: usize = {
    let (mut count, mut index) = (0, 0);
    while index < NAMED.len() {
        count += (NAMED[index].1.len() < 16) as usize + (NAMED[index].2 != 0) as usize;
        index += 1;
    }
    count
};

const fn keys() -> [(Key, HeaderName); KEYS_COUNT] {
    let mut keys = [([0; 2], HeaderName::Other); KEYS_COUNT];
    let (mut count, mut index) = (0, 0);
    while index < NAMED.len() {
        let (variant, name, compact, _) = NAMED[index];
        if name.len() < 16 {
            keys[count] = (key(name.as_bytes()), variant);
            count += 1;
        }
        if compact != 0 {
            keys[count] = (key(&[compact]), variant);
            count += 1;
        }
        index += 1;
    }
    keys
}

const fn key(name: &[u8]) -> Key {
    let mut key = [0; 2];
    let mut at = 0;
    while at < name.len() {
        let octet = name[at].to_ascii_lowercase();
        assert!(octet == b'-' || octet.is_ascii_lowercase(), "a name of other octets");
        key[at / 8] |= (octet as u64) << (at % 8 * 8);
        at += 1;
    }
    key
}

static HASHED: [u8; SLOTS] = hashed();

const fn hashed() -> [u8; SLOTS] {
    let mut table = [NONE; SLOTS];
    let mut index = 0;
    while index < KEYS_COUNT {
        let at = hash(KEYS[index].0);
        assert!(table[at] == NONE, "two keys share a slot: find another factor");
        table[at] = index as u8;
        index += 1;
    }
    table
}

/// Compact forms, by the low five bits of their letter.
static LETTERS: [u8; 32] = letters();

const fn letters() -> [u8; 32] {
    let mut letters = [NONE; 32];
    let mut index = 0;
    while index < NAMED.len() {
        let compact = NAMED[index].2;
        if compact != 0 {
            assert!(letters[compact as usize & 31] == NONE, "two headers share a compact form");
            letters[compact as usize & 31] = index as u8;
        }
        index += 1;
    }
    letters
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_is_recognised_in_any_case() {
        for (name, canonical, _, _) in NAMED {
            assert_eq!(HeaderName::from_bytes(canonical.as_bytes()), *name);
            assert_eq!(HeaderName::from_bytes(canonical.to_uppercase().as_bytes()), *name);
            assert_eq!(HeaderName::from_bytes(canonical.to_lowercase().as_bytes()), *name);
        }
    }

    #[test]
    fn compact_forms_are_recognised_in_any_case() {
        assert_eq!(HeaderName::from_bytes(b"v"), HeaderName::Via);
        assert_eq!(HeaderName::from_bytes(b"I"), HeaderName::CallId);
        assert_eq!(HeaderName::from_bytes(b"l").compact(), Some('l'));
    }

    #[test]
    fn a_name_before_a_colon_is_recognised_like_a_name_alone() {
        let known = NAMED.iter().flat_map(|(_, canonical, compact, _)| {
            let compact = char::from(*compact).to_string();
            [canonical.to_string(), canonical.to_uppercase(), canonical.to_lowercase(), compact]
        });
        for name in known.filter(|name| name != "\0") {
            let line = format!("{name}: a value that is long enough: for a word");
            let known = (HeaderName::from_bytes(name.as_bytes()), name.len());
            let found = HeaderName::before_colon(line.as_bytes());
            assert_eq!(found, (name.len() < 16).then_some(known), "{name}");
            for other in [format!("{name} : 12345678"), format!("x{name}: 12345678")] {
                assert_eq!(HeaderName::before_colon(other.as_bytes()), None, "{other}");
            }
        }
        for line in ["", ":", ": 12345678", "To:", "g: 12345678", "V\u{61}\u{301}: 12345678"] {
            assert_eq!(HeaderName::before_colon(line.as_bytes()), None, "{line}");
        }
    }

    #[test]
    fn near_misses_are_other() {
        for name in
            [&b""[..], b"g", b"\x16", b"6", b"Via2", b"Vi", b"Callx-ID", b"Call\rID", b"tO\0"]
        {
            assert_eq!(HeaderName::from_bytes(name), HeaderName::Other, "{}", name.escape_ascii());
        }
    }

    #[test]
    fn lists_may_repeat_and_single_values_may_not() {
        assert!(HeaderName::From.is_single() && HeaderName::ContentLength.is_single());
        assert!(!HeaderName::Via.is_single() && !HeaderName::Other.is_single());
    }
}
