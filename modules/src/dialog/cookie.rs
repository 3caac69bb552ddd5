//! The cookie in Record-Route that leads a request back to its dialog.
//!
//! For: `did=<slot>.<id>`, both hexadecimal with the least digit first, and the slot of a Call-ID.
//! With a signature (`;dc=`) a forged cookie is told from ours without a look-up.
//! Not here: which dialog a message belongs to (`matching.rs`).

use siphasher::sip::SipHasher13;
use std::fmt;
use std::hash::Hasher;
use strowger_sip::message::{Message, Params, Uri};

/// Names a dialog in cookies, listings, commands and tables: slot and id in the slot.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Key {
    /// The slot of the Call-ID (`h_entry`, `hash_entry`).
    pub entry: u32,
    /// The id, never 0 (`h_id`, `hash_id`).
    pub id: u32,
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.entry, self.id)
    }
}

/// The slot of a Call-ID in a table of so many slots, a power of two.
pub(super) fn slot(call_id: &[u8], slots: u32) -> u32 {
    let mut hash: u32 = 0;
    let mut add = |value: u32| hash = hash.wrapping_add(value ^ (value >> 3));
    let (words, rest) = call_id.as_chunks::<4>();
    words.iter().for_each(|word| add(u32::from_be_bytes(*word)));
    add(rest.iter().fold(0, |value, &byte| (value << 8) | u32::from(byte)));
    let folded = (hash >> 11).wrapping_add(hash >> 13).wrapping_add(hash >> 23);
    hash.wrapping_add(folded) & (slots.max(1) - 1)
}

/// A number in hexadecimal, the least digit first.
pub(super) fn push_reversed(out: &mut Vec<u8>, mut number: u32) {
    loop {
        let digit = (number & 15) as u8;
        out.push(if digit < 10 { b'0' + digit } else { b'a' + digit - 10 });
        number >>= 4;
        if number == 0 {
            return;
        }
    }
}

fn read_reversed(text: &[u8]) -> Option<u32> {
    if text.is_empty() || text.len() > 8 {
        return None;
    }
    text.iter().rev().try_fold(0u32, |number, &digit| {
        let digit = match digit {
            b'0'..=b'9' => digit - b'0',
            b'a'..=b'f' => digit - b'a' + 10,
            b'A'..=b'F' => digit - b'A' + 10,
            _ => return None,
        };
        Some((number << 4) | u32::from(digit))
    })
}

impl Key {
    /// Reads `<slot>.<id>`.
    pub(super) fn read(text: &[u8]) -> Option<Key> {
        let dot = text.iter().position(|&byte| byte == b'.')?;
        let (entry, id) = text.split_at_checked(dot)?;
        let id = read_reversed(id.get(1..)?)?;
        Some(Key { entry: read_reversed(entry)?, id })
    }
}

/// How cookies are written and judged.
#[derive(Clone, Debug)]
pub(super) struct Cookies {
    /// `rr_param`
    pub(super) name: String,
    /// The key of signatures; without one cookies are Kamailio's, unsigned.
    pub(super) secret: Option<[u8; 16]>,
}

/// What a message's Route says of its dialog.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Found {
    /// No cookie of ours.
    None,
    /// One that cannot be read.
    Malformed,
    /// One that was not written by this node since its start.
    Unsigned(Key),
    /// A good one.
    Good(Key),
}

/// The name of the signature's parameter.
const SIGNATURE: &str = "dc";

impl Cookies {
    /// Appends the parameters for a Record-Route entry.
    pub(super) fn write(&self, key: Key, call_id: &[u8], out: &mut Vec<u8>) {
        out.push(b';');
        out.extend_from_slice(self.name.as_bytes());
        out.push(b'=');
        push_reversed(out, key.entry);
        out.push(b'.');
        push_reversed(out, key.id);
        if let Some(sum) = self.sum(key, call_id) {
            out.push(b';');
            out.extend_from_slice(SIGNATURE.as_bytes());
            out.push(b'=');
            push_reversed(out, sum);
        }
    }

    /// Looks for the cookie among the parameters of a URI of ours.
    pub(super) fn find(&self, params: Params<'_>, call_id: &[u8]) -> Found {
        let Some(text) = params.value(self.name.as_bytes()) else { return Found::None };
        let Some(key) = Key::read(text) else { return Found::Malformed };
        match self.sum(key, call_id) {
            None => Found::Good(key),
            Some(sum) => {
                let written = params.value(SIGNATURE.as_bytes()).and_then(read_reversed);
                if written == Some(sum) { Found::Good(key) } else { Found::Unsigned(key) }
            }
        }
    }

    /// Looks for the cookie in a request's own Route entries, or in the Request-URI that a strict
    /// router has put it into.
    pub(super) fn of_request(
        &self,
        message: Message<'_>,
        is_ours: impl Fn(&Uri<'_>) -> bool,
    ) -> Found {
        let call_id = message.call_id().unwrap_or(&[]);
        let target = message.request_uri().and_then(|uri| Uri::parse(uri).ok());
        if let Some(target) = target.filter(|uri| uri.user.is_none()) {
            let found = self.find(target.params, call_id);
            if found != Found::None && is_ours(&target) {
                return found;
            }
        }
        // With double record-routing the first two entries are ours.
        for route in message.routes().take(2) {
            let Some(uri) = route.ok().and_then(|route| route.uri().ok()) else {
                return Found::None;
            };
            if !is_ours(&uri) {
                return Found::None;
            }
            let found = self.find(uri.params, call_id);
            if found != Found::None {
                return found;
            }
        }
        Found::None
    }

    fn sum(&self, key: Key, call_id: &[u8]) -> Option<u32> {
        let mut hasher = SipHasher13::new_with_key(self.secret.as_ref()?);
        hasher.write_u32(key.entry);
        hasher.write_u32(key.id);
        hasher.write(call_id);
        Some(hasher.finish() as u32)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slots_of_call_ids() {
        for (call_id, wanted) in [
            ("1-19073@127.0.0.1", 2391),
            ("call1795187631@127.0.0.1", 2672),
            ("a84b4c76e66710@pc33.example.com", 2556),
            ("c1", 3943),
            ("abcd", 1048),
            ("dlg-test-0001@198.51.100.7", 617),
        ] {
            assert_eq!(slot(call_id.as_bytes(), 4096), wanted, "{call_id}");
        }
        assert_eq!(slot(b"anything", 1), 0);
    }

    fn plain() -> Cookies {
        Cookies { name: "did".into(), secret: None }
    }

    #[test]
    fn cookies_are_written_least_digit_first() {
        for (entry, id, wanted) in
            [(2391, 4367, ";did=759.f011"), (2672, 5839, ";did=07a.fc61"), (342, 56, ";did=651.83")]
        {
            let mut text = Vec::new();
            plain().write(Key { entry, id }, b"c", &mut text);
            assert_eq!(String::from_utf8_lossy(&text), wanted);
            assert_eq!(Key::read(&text[5..]), Some(Key { entry, id }));
        }
    }

    #[test]
    fn what_is_no_cookie_is_told_apart() {
        let params = |text: &'static str| Uri::parse(text.as_bytes()).expect("a URI").params;
        let find = |text| plain().find(params(text), b"c");
        assert_eq!(find("sip:p;lr"), Found::None);
        assert_eq!(find("sip:p;lr;didx=1.1"), Found::None);
        assert_eq!(find("sip:p;lr;did=962"), Found::Malformed);
        assert_eq!(find("sip:p;lr;did=9g2.1"), Found::Malformed);
        assert_eq!(find("sip:p;lr;did=123456789.1"), Found::Malformed);
        assert_eq!(find("sip:p;lr;did=01.1"), Found::Good(Key { entry: 16, id: 1 }));
    }

    #[test]
    fn a_signature_is_good_for_its_call_and_key_alone() {
        let signed = Cookies { secret: Some([7; 16]), ..plain() };
        let key = Key { entry: 5, id: 9 };
        let mut text = b"sip:p;lr".to_vec();
        signed.write(key, b"c", &mut text);
        let uri = Uri::parse(&text).expect("a URI");
        assert_eq!(signed.find(uri.params, b"c"), Found::Good(key));
        assert_eq!(signed.find(uri.params, b"d"), Found::Unsigned(key));
        let other = Cookies { secret: Some([8; 16]), ..plain() };
        assert_eq!(other.find(uri.params, b"c"), Found::Unsigned(key));
        assert_eq!(plain().find(uri.params, b"c"), Found::Good(key));
    }
}
