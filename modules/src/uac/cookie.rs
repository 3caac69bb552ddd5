//! What a Record-Route parameter remembers of a replaced header (uac.md f.2).
//!
//! For: finding, in a request within the dialog, what each party is to see. Two forms: sealed, with
//! both names and URIs under authenticated encryption, and Kamailio's, a folded pair of URIs, for
//! clusters of both.
//! Not here: where the parameter stands (`rewrite.rs`).
//! Invariants: a sealed cookie is good for its Call-ID and header alone; what was not written here
//! restores nothing. Kamailio's form hides nothing from who knows one of the two URIs.

use crate::keyed::hmac;
use base64::Engine;
use base64::alphabet;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use chacha20poly1305::aead::{AeadInOut, KeyInit};
use chacha20poly1305::{ChaCha20Poly1305, Key, Nonce};
use strowger_sip::message::Uri;

/// Longest cookie that is read: what three URIs of the longest kind take.
const COOKIE_BYTES_MAX: usize = 4096;
const NONCE_BYTES: usize = 12;

/// One of the two headers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Header {
    From,
    To,
}

impl Header {
    pub(super) const BOTH: [Header; 2] = [Header::From, Header::To];

    pub(super) const fn name(self) -> &'static [u8] {
        match self {
            Header::From => b"From",
            Header::To => b"To",
        }
    }

    /// The header that shows the same party to the other side.
    pub(super) const fn other(self) -> Header {
        match self {
            Header::From => Header::To,
            Header::To => Header::From,
        }
    }
}

/// A name and a URI. Without a name, the one that is there stays.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Shown {
    pub(super) display: Option<Vec<u8>>,
    pub(super) uri: Vec<u8>,
}

/// What one header was, and what it became.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Pair {
    pub(super) original: Shown,
    pub(super) new: Shown,
}

/// The key of sealed cookies.
#[derive(Clone)]
pub(super) struct Sealer {
    cipher: ChaCha20Poly1305,
}

impl std::fmt::Debug for Sealer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("a key")
    }
}

impl Sealer {
    pub(super) fn new(secret: &[u8]) -> Sealer {
        let key = hmac(secret, &[b"uac cookie"]);
        Sealer { cipher: ChaCha20Poly1305::new(&Key::from(key)) }
    }

    /// Writes a cookie. `random` is never used twice.
    pub(super) fn seal(&self, pair: &Pair, of: Whose<'_>, random: [u64; 2]) -> String {
        let mut nonce = [0; NONCE_BYTES];
        let [high, low] = random.map(u64::to_be_bytes);
        for (to, from) in nonce.iter_mut().zip(high.into_iter().chain(low)) {
            *to = from;
        }
        let mut text = Vec::new();
        let Pair { original, new } = pair;
        text.push(u8::from(new.display.is_some()));
        text.extend_from_slice(&of.tag_hash());
        for part in [original.display.as_deref(), new.display.as_deref()] {
            push(&mut text, part.unwrap_or_default());
        }
        push(&mut text, &original.uri);
        push(&mut text, &new.uri);
        let sealed = self.cipher.encrypt_in_place(&Nonce::from(nonce), &of.context(), &mut text);
        // Only a text of 256 GiB is too long.
        if sealed.is_err() {
            return String::new();
        }
        let mut cookie = nonce.to_vec();
        cookie.extend_from_slice(&text);
        BASE64_URL_SAFE_NO_PAD.encode(cookie)
    }

    /// Reads a cookie, and says which way a request with this From tag goes.
    pub(super) fn open(&self, cookie: &[u8], of: Whose<'_>) -> Option<(Pair, Way)> {
        if cookie.len() > COOKIE_BYTES_MAX {
            return None;
        }
        let bytes = BASE64_URL_SAFE_NO_PAD.decode(cookie).ok()?;
        let (nonce, sealed) = bytes.split_first_chunk::<NONCE_BYTES>()?;
        let mut text = sealed.to_vec();
        self.cipher.decrypt_in_place(&Nonce::from(*nonce), &of.context(), &mut text).ok()?;
        let (named, rest) = text.split_first()?;
        let (tag, mut rest) = rest.split_first_chunk::<4>()?;
        let mut take = || {
            let (length, after) = rest.split_first_chunk::<2>()?;
            let (part, after) = after.split_at_checked(u16::from_be_bytes(*length).into())?;
            rest = after;
            Some(part.to_vec())
        };
        let (old_display, new_display) = (take()?, take()?);
        let (old_uri, new_uri) = (take()?, take()?);
        let display = |text| (*named != 0).then_some(text);
        let original = Shown { display: display(old_display), uri: old_uri };
        let new = Shown { display: display(new_display), uri: new_uri };
        let way = if *tag == of.tag_hash() { Way::Downstream } else { Way::Upstream };
        Some((Pair { original, new }, way))
    }
}

fn push(text: &mut Vec<u8>, part: &[u8]) {
    let length = u16::try_from(part.len()).unwrap_or(u16::MAX);
    text.extend_from_slice(&length.to_be_bytes());
    text.extend_from_slice(part.get(..usize::from(length)).unwrap_or_default());
}

/// Which way a request within a dialog goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Way {
    /// From the caller to the callee.
    Downstream,
    /// From the callee to the caller.
    Upstream,
}

/// Whose cookie: the call, the header that was replaced, and the From tag of the request at hand.
#[derive(Clone, Copy, Debug)]
pub(super) struct Whose<'w> {
    pub(super) header: Header,
    pub(super) call_id: &'w [u8],
    pub(super) from_tag: &'w [u8],
}

impl Whose<'_> {
    fn context(&self) -> Vec<u8> {
        [self.header.name(), self.call_id].join(&b'\n')
    }

    /// Enough of a hash to tell two tags of one call apart.
    fn tag_hash(&self) -> [u8; 4] {
        let hash = hmac(b"tag", &[self.from_tag]);
        hash.first_chunk().copied().unwrap_or_default()
    }
}

/// Kamailio's base64: the usual alphabet, `-` for padding.
const FOLDED: GeneralPurpose = GeneralPurpose::new(
    &alphabet::STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::RequireCanonical),
);

/// Kamailio's cookie of a pair of URIs.
pub(super) fn fold(original: &[u8], new: &[u8], password: &[u8]) -> String {
    let (long, short) = if original.len() > new.len() { (original, new) } else { (new, original) };
    let mut text = long.to_vec();
    text.iter_mut().zip(short).for_each(|(to, from)| *to ^= from);
    mask(&mut text, password);
    FOLDED.encode(text).replace('=', "-")
}

/// The other URI of a pair, given one of them; `None` when what comes out is no URI.
pub(super) fn unfold(cookie: &[u8], present: &[u8], password: &[u8]) -> Option<Vec<u8>> {
    if cookie.len() > COOKIE_BYTES_MAX {
        return None;
    }
    let padded: Vec<u8> =
        cookie.iter().map(|byte| if *byte == b'-' { b'=' } else { *byte }).collect();
    let mut text = FOLDED.decode(padded).ok()?;
    if text.len() < present.len() {
        return None;
    }
    mask(&mut text, password);
    text.iter_mut().zip(present).for_each(|(to, from)| *to ^= from);
    // Where the present one is longer, the rest of the other is nothing.
    let end = text.iter().position(|byte| *byte == 0).unwrap_or(text.len());
    text.truncate(end);
    (!text.is_empty() && Uri::parse(&text).is_ok()).then_some(text)
}

fn mask(text: &mut [u8], password: &[u8]) {
    if !password.is_empty() {
        text.iter_mut().zip(password.iter().cycle()).for_each(|(to, from)| *to ^= from);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BOB: &[u8] = b"sip:1001@pbx.example.com";
    const TRUNK: &[u8] = b"sip:+4930123456@trunk.example.net";

    /// uac.md (h) A1, A5 and the example of f.2.
    #[test]
    fn folded_cookies_are_kamailios() {
        assert_eq!(fold(BOB, TRUNK, b""), "AAAAABoECQJwQVBLGlBOIRkCGQtFTQoVYW1wbGUubmV0");
        assert_eq!(fold(BOB, TRUNK, b"k3y"), "azN5ayl9YjEJKmMycWM3Sip7cjg8JjlsCl4JB1ZXBVYN");
        let (alice, nobody) =
            (b"sip:alice@atlanta.example.com", b"sip:anonymous@anonymous.invalid");
        assert_eq!(fold(alice, nobody, b""), "AAAAAAACBg0cLQ4BHyEPGg5AHBUOGANCDEAVDgFpZA--");
        let (phone, short) = (b"sip:1001@pbx.example.com;user=phone", b"sip:x@y.z");
        let cookie = fold(phone, short, b"");
        assert_eq!(cookie, "AAAAAElwSR86cGJ4LmV4YW1wbGUuY29tO3VzZXI9cGhvbmU-");
        assert_eq!(unfold(cookie.as_bytes(), phone, b"").as_deref(), Some(&short[..]));
        assert_eq!(unfold(cookie.as_bytes(), short, b"").as_deref(), Some(&phone[..]));
    }

    /// uac.md (h) A6.
    #[test]
    fn a_folded_cookie_restores_nothing_from_a_foreign_uri() {
        let cookie = fold(BOB, TRUNK, b"");
        assert_eq!(unfold(cookie.as_bytes(), b"sip:zz@other.example.org", b""), None);
        assert_eq!(unfold(b"!!!!", BOB, b""), None);
        assert_eq!(unfold(b"", BOB, b""), None);
        assert_eq!(unfold(cookie.as_bytes(), BOB, b"other"), None);
    }

    fn pair(display: bool) -> Pair {
        let shown = |name: &[u8], uri: &[u8]| Shown {
            display: display.then(|| name.to_vec()),
            uri: uri.to_vec(),
        };
        Pair { original: shown(b"\"Bob\"", BOB), new: shown(b"", TRUNK) }
    }

    #[test]
    fn a_sealed_cookie_is_good_for_its_call_and_header_alone() {
        let sealer = Sealer::new(b"secret");
        let of = Whose { header: Header::From, call_id: b"c", from_tag: b"a" };
        for display in [false, true] {
            let cookie = sealer.seal(&pair(display), of, [1, 2]);
            let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"-_".contains(&byte);
            assert!(cookie.bytes().all(allowed), "{cookie}");
            let open = |of| sealer.open(cookie.as_bytes(), of);
            assert_eq!(open(of), Some((pair(display), Way::Downstream)));
            let back = Whose { from_tag: b"b", ..of };
            assert_eq!(open(back), Some((pair(display), Way::Upstream)));
            assert_eq!(open(Whose { header: Header::To, ..of }), None);
            assert_eq!(open(Whose { call_id: b"d", ..of }), None);
            assert_eq!(Sealer::new(b"other").open(cookie.as_bytes(), of), None);
        }
        assert_eq!(sealer.open(b"", of), None);
        assert_eq!(sealer.open(&[b'A'; 60], of), None);
    }
}
