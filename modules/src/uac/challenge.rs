//! Challenges of others: WWW-Authenticate and Proxy-Authenticate (RFC 7616 §3.3, RFC 8760).
//!
//! For: reading all challenges of a 401 or 407, and choosing the strongest one for which there is a
//! credential.
//! Not here: the proof (`proof.rs`), whose credential (`answer.rs`).
//! Invariants: bounded in number and length; a challenge that cannot be answered is passed over,
//! whatever stands beside it.

use super::secret::Credential;
use crate::auth::{Algorithm, Hex};
use strowger_sip::message::{HeaderName, Message};

/// Most challenges of one response. RFC 8760 has one an algorithm; there are six.
const CHALLENGES_MAX: usize = 16;
/// Longest parameter. A guess: those in use are below a quarter of it.
const VALUE_BYTES_MAX: usize = 1024;

/// Who challenges.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum By {
    /// A user agent server, by 401.
    Server,
    /// A proxy, by 407.
    Proxy,
}

impl By {
    /// Who answers with this status.
    pub(super) fn status(status: u16) -> Option<By> {
        match status {
            401 => Some(By::Server),
            407 => Some(By::Proxy),
            _ => None,
        }
    }

    const fn challenge(self) -> HeaderName {
        match self {
            By::Server => HeaderName::WwwAuthenticate,
            By::Proxy => HeaderName::ProxyAuthenticate,
        }
    }

    /// The header that answers it.
    pub(super) const fn answer(self) -> &'static str {
        match self {
            By::Server => "Authorization",
            By::Proxy => "Proxy-Authorization",
        }
    }
}

/// What is to be protected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Protection {
    /// RFC 2069: there is no `qop`.
    None,
    Auth,
    /// The body too.
    AuthInt,
}

/// One challenge that can be answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Challenge {
    pub(super) by: By,
    /// Between its quotes, escapes as written.
    pub(super) realm: Box<[u8]>,
    pub(super) nonce: Box<[u8]>,
    pub(super) opaque: Option<Box<[u8]>>,
    pub(super) algorithm: Algorithm,
    pub(super) protection: Protection,
    /// The last nonce was too old, the secret right.
    pub(crate) stale: bool,
}

/// Every challenge of a response that can be answered, in order.
pub(crate) fn read(message: Message<'_>) -> Vec<Challenge> {
    let by = message.status().and_then(|status| By::status(status.code()));
    let Some(by) = by else { return Vec::new() };
    let mut list = Vec::new();
    for field in message.headers(by.challenge()) {
        read_field(by, field.value, &mut list);
    }
    list.truncate(CHALLENGES_MAX);
    list
}

/// A field may hold several, with commas between them as between their parameters.
fn read_field(by: By, value: &[u8], list: &mut Vec<Challenge>) {
    let mut present: Option<Params<'_>> = None;
    for piece in pieces(value) {
        let (scheme, param) = split_scheme(piece);
        if let Some(scheme) = scheme {
            list.extend(present.take().and_then(|params| params.challenge(by)));
            present = scheme.eq_ignore_ascii_case(b"digest").then(Params::default);
        }
        if let Some(params) = &mut present {
            params.take(param);
        }
        if list.len() > CHALLENGES_MAX {
            return;
        }
    }
    list.extend(present.and_then(|params| params.challenge(by)));
}

/// What stands between commas outside of quotes.
fn pieces(value: &[u8]) -> impl Iterator<Item = &[u8]> {
    let (mut quoted, mut escaped) = (false, false);
    value
        .split(move |byte| {
            let separates = *byte == b',' && !quoted;
            match byte {
                _ if escaped => escaped = false,
                b'\\' => escaped = quoted,
                b'"' => quoted = !quoted,
                _ => {}
            }
            separates
        })
        .map(<[u8]>::trim_ascii)
        .filter(|piece| !piece.is_empty())
}

/// A scheme in front of a parameter: two words before the equals sign.
fn split_scheme(piece: &[u8]) -> (Option<&[u8]>, &[u8]) {
    let name = piece.split(|byte| *byte == b'=').next().unwrap_or(piece).trim_ascii_end();
    match name.iter().position(u8::is_ascii_whitespace) {
        Some(blank) => {
            let (scheme, rest) = piece.split_at(blank);
            (Some(scheme), rest.trim_ascii())
        }
        // A scheme without any parameter.
        None if !piece.contains(&b'=') => (Some(piece), &[]),
        None => (None, piece),
    }
}

#[derive(Default)]
struct Params<'m> {
    realm: Option<&'m [u8]>,
    nonce: Option<&'m [u8]>,
    opaque: Option<&'m [u8]>,
    algorithm: Option<&'m [u8]>,
    qop: Option<&'m [u8]>,
    stale: Option<&'m [u8]>,
    too_long: bool,
}

impl<'m> Params<'m> {
    fn take(&mut self, param: &'m [u8]) {
        let Some(equals) = param.iter().position(|byte| *byte == b'=') else { return };
        let (name, value) = param.split_at(equals);
        let value = unquoted(value.get(1..).unwrap_or_default().trim_ascii());
        self.too_long |= value.len() > VALUE_BYTES_MAX;
        let places = [
            (&b"realm"[..], &mut self.realm),
            (b"nonce", &mut self.nonce),
            (b"opaque", &mut self.opaque),
            (b"algorithm", &mut self.algorithm),
            (b"qop", &mut self.qop),
            (b"stale", &mut self.stale),
        ];
        let name = name.trim_ascii();
        for (known, place) in places {
            if known.eq_ignore_ascii_case(name) && place.is_none() {
                *place = Some(value);
            }
        }
    }

    fn challenge(self, by: By) -> Option<Challenge> {
        let Params { realm, nonce, opaque, algorithm, qop, stale, too_long } = self;
        if too_long {
            return None;
        }
        let algorithm = algorithm.map_or(Some(Algorithm::MD5), Algorithm::from_name)?;
        let protection = match qop.map(<[u8]>::trim_ascii).filter(|qop| !qop.is_empty()) {
            None => Protection::None,
            Some(qop) => {
                let mut tokens = qop.split(|byte| *byte == b',').map(<[u8]>::trim_ascii);
                if tokens.clone().any(|token| token.eq_ignore_ascii_case(b"auth")) {
                    Protection::Auth
                } else if tokens.any(|token| token.eq_ignore_ascii_case(b"auth-int")) {
                    Protection::AuthInt
                } else {
                    return None;
                }
            }
        };
        Some(Challenge {
            by,
            realm: realm?.into(),
            nonce: nonce.filter(|nonce| !nonce.is_empty())?.into(),
            opaque: opaque.map(Box::from),
            algorithm,
            protection,
            stale: stale.is_some_and(|stale| stale.eq_ignore_ascii_case(b"true")),
        })
    }
}

fn unquoted(value: &[u8]) -> &[u8] {
    let inner = value.strip_prefix(b"\"").and_then(|rest| rest.strip_suffix(b"\""));
    inner.unwrap_or(value)
}

/// The strongest challenge that one of these credentials answers, the first one of equals; with
/// whose name and hash.
pub(crate) fn choose<'c>(
    challenges: Vec<Challenge>,
    credentials: impl Iterator<Item = &'c Credential> + Clone,
) -> Option<(Challenge, String, Hex)> {
    let answered = challenges.into_iter().filter_map(|challenge| {
        let found = credentials.clone().filter(|one| one.fits(&challenge.realm)).find_map(|one| {
            let user = one.user.as_bytes();
            let ha1 = one.secret.ha1(challenge.algorithm, user, &challenge.realm)?;
            Some((one.user.clone(), ha1))
        });
        found.map(|(user, ha1)| (challenge, user, ha1))
    });
    answered.reduce(|best, next| if next.0.algorithm > best.0.algorithm { next } else { best })
}

#[cfg(test)]
pub(super) mod tests {
    use super::super::secret::Secret;
    use super::*;
    use strowger_sip::limits::Limits;
    use strowger_sip::message::Head;

    /// The challenges of a 407 with these header lines.
    pub(in super::super) fn challenges(lines: &str) -> Vec<Challenge> {
        let text = format!("SIP/2.0 407 Proxy Authentication Required\r\n{lines}\r\n");
        let mut head = Head::default();
        head.parse(text.as_bytes(), &Limits::DATAGRAM).expect("a message");
        read(head.message(text.as_bytes()))
    }

    fn with(secret: Secret) -> Credential {
        Credential { user: "alice".into(), realm: String::new(), secret }
    }

    #[test]
    fn qop_is_a_list_of_words() {
        let of = |qop: &str| {
            let line = format!("Proxy-Authenticate: Digest realm=\"r\", nonce=\"n\"{qop}\r\n");
            challenges(&line).first().map(|challenge| challenge.protection)
        };
        assert_eq!(of(""), Some(Protection::None));
        assert_eq!(of(", qop=\"auth-int,auth\""), Some(Protection::Auth));
        assert_eq!(of(", qop=\"auth-int\""), Some(Protection::AuthInt));
        assert_eq!(of(", qop=\"auth-conf\""), None);
    }

    #[test]
    fn several_challenges_may_share_a_field() {
        let line = "Proxy-Authenticate: Basic realm=\"b\", Digest realm=\"a, \\\"b\", nonce=\"1\", \
                    stale=TRUE, Negotiate, digest nonce=\"2\",realm=\"c\",opaque=\"x\"\r\n\
                    Proxy-Authenticate: Digest realm=\"d\"\r\n\
                    Proxy-Authenticate: Digest realm=\"d\", nonce=\"3\", algorithm=AKAv1-MD5\r\n";
        let list = challenges(line);
        let shown: Vec<(&[u8], &[u8], bool)> =
            list.iter().map(|one| (&*one.realm, &*one.nonce, one.stale)).collect();
        let wanted: [(&[u8], &[u8], bool); 2] = [(b"a, \\\"b", b"1", true), (b"c", b"2", false)];
        assert_eq!(shown, wanted);
    }

    #[test]
    fn the_strongest_that_can_be_answered_is_chosen() {
        let lines = "Proxy-Authenticate: Digest realm=\"r\", nonce=\"1\"\r\n\
                     Proxy-Authenticate: Digest realm=\"r\", nonce=\"2\", algorithm=SHA-256\r\n\
                     Proxy-Authenticate: Digest realm=\"r\", nonce=\"3\", algorithm=SHA-256\r\n";
        let chosen = |secret| {
            let (challenge, ..) = choose(challenges(lines), [with(secret)].iter())?;
            Some(challenge.nonce.to_vec())
        };
        assert_eq!(chosen(Secret::password("p")).as_deref(), Some(&b"2"[..]));
        let md5 = Secret::default().with_ha1(&"0".repeat(32)).expect("a hash");
        assert_eq!(chosen(md5).as_deref(), Some(&b"1"[..]));
        assert_eq!(chosen(Secret::default()), None);
    }

    #[test]
    fn a_flood_of_challenges_is_cut() {
        let one = "Proxy-Authenticate: Digest realm=\"r\", nonce=\"1\"\r\n";
        assert_eq!(challenges(&one.repeat(200)).len(), CHALLENGES_MAX);
        let many = format!("Proxy-Authenticate: {}\r\n", "Digest realm=r,nonce=n,".repeat(500));
        assert!(challenges(&many).len() <= CHALLENGES_MAX);
        let long = format!("Proxy-Authenticate: Digest realm=r, nonce={}\r\n", "n".repeat(2000));
        assert!(challenges(&long).is_empty());
    }
}
