//! The texts of one dialog, in one piece of memory that is used again for the next one.
//!
//! For: a million dialogs with a dozen short texts each, without a dozen allocations each.
//! Not here: what the texts mean (`record.rs`).
//! Invariants: a text that does not fit is refused and changes nothing.

use super::limits::{MEMBERSHIPS_MAX, TEXTS_BYTES_MAX, VALUE_BYTES_MAX, VARIABLES_MAX};

/// Which text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Field {
    CallId,
    FromUri,
    FromTag,
    ToUri,
    ToTag,
    RequestUri,
    CallerContact,
    CalleeContact,
    CallerRoutes,
    CalleeRoutes,
    TimeoutRoute,
}

const FIELDS: usize = 11;

/// The memory is used up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct TooLong;

/// The texts, one behind the other.
#[derive(Clone, Debug, Default)]
pub(super) struct Texts {
    bytes: Vec<u8>,
    ends: [u16; FIELDS],
}

impl Texts {
    /// No texts yet, in memory that was used before.
    pub(super) fn in_memory(mut bytes: Vec<u8>) -> Texts {
        bytes.clear();
        Texts { bytes, ends: [0; FIELDS] }
    }

    /// Makes room for so many bytes, and no more.
    pub(super) fn reserve(&mut self, bytes: usize) {
        self.bytes.reserve_exact(bytes);
    }

    pub(super) fn get(&self, field: Field) -> &[u8] {
        let (start, end) = self.range(field);
        self.bytes.get(start..end).unwrap_or_default()
    }

    pub(super) fn set(&mut self, field: Field, text: &[u8]) -> Result<(), TooLong> {
        let (start, end) = self.range(field);
        let old = end.saturating_sub(start);
        if self.bytes.len() - old + text.len() > TEXTS_BYTES_MAX {
            return Err(TooLong);
        }
        self.bytes.splice(start..end, text.iter().copied());
        for end in self.ends.iter_mut().skip(field as usize) {
            // Within bounds: all of it is shorter than `TEXTS_BYTES_MAX`.
            let moved = (usize::from(*end) + text.len()).saturating_sub(old);
            *end = u16::try_from(moved).unwrap_or(u16::MAX);
        }
        Ok(())
    }

    /// Gives the memory back.
    pub(super) fn into_memory(self) -> Vec<u8> {
        self.bytes
    }

    pub(super) fn capacity(&self) -> usize {
        self.bytes.capacity()
    }

    fn range(&self, field: Field) -> (usize, usize) {
        let place = field as usize;
        let start = place.checked_sub(1).and_then(|before| self.ends.get(before));
        let end = self.ends.get(place).copied().unwrap_or(0);
        (usize::from(start.copied().unwrap_or(0)), usize::from(end))
    }
}

/// Variables and profile memberships of one dialog, in one piece of memory.
#[derive(Clone, Debug, Default)]
pub(super) struct Pairs {
    bytes: Vec<u8>,
}

/// Marks an entry as a variable; other numbers are those of profiles.
const VARIABLE: u16 = u16::MAX;
const HEAD: usize = 6;

/// Why an entry is not kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Refused {
    /// There are too many, or it is too long.
    Full,
    /// It is there already.
    Twice,
}

struct Entry<'e> {
    start: usize,
    end: usize,
    kind: u16,
    key: &'e [u8],
    value: &'e [u8],
}

impl Pairs {
    pub(super) fn in_memory(mut bytes: Vec<u8>) -> Pairs {
        bytes.clear();
        Pairs { bytes }
    }

    pub(super) fn into_memory(self) -> Vec<u8> {
        self.bytes
    }

    pub(super) fn capacity(&self) -> usize {
        self.bytes.capacity()
    }

    /// The value of a variable.
    pub(super) fn variable(&self, key: &[u8]) -> Option<&[u8]> {
        self.entries().find(|entry| entry.kind == VARIABLE && entry.key == key).map(|e| e.value)
    }

    /// Every variable, in the order of setting.
    pub(super) fn variables(&self) -> impl Iterator<Item = (&[u8], &[u8])> {
        self.entries().filter(|entry| entry.kind == VARIABLE).map(|entry| (entry.key, entry.value))
    }

    /// Sets a variable; an empty value removes it. `true` when that changed something.
    pub(super) fn set_variable(&mut self, key: &[u8], value: &[u8]) -> Result<bool, Refused> {
        if self.variable(key) == Some(value) {
            return Ok(false);
        }
        let count = self.variables().count();
        let known = self.variable(key).is_some();
        let fits = key.len() <= VALUE_BYTES_MAX && value.len() <= VALUE_BYTES_MAX;
        if !value.is_empty() && (!fits || (!known && count >= VARIABLES_MAX)) {
            return Err(Refused::Full);
        }
        let removed = self.remove(|entry| entry.kind == VARIABLE && entry.key == key);
        if value.is_empty() {
            return Ok(removed);
        }
        self.push(VARIABLE, key, value);
        Ok(true)
    }

    /// Every membership: the profile's number and the value.
    pub(super) fn memberships(&self) -> impl Iterator<Item = (u16, &[u8])> {
        self.entries().filter(|entry| entry.kind != VARIABLE).map(|entry| (entry.kind, entry.value))
    }

    pub(super) fn is_member(&self, profile: u16, value: &[u8]) -> bool {
        self.memberships().any(|own| own == (profile, value))
    }

    pub(super) fn join(&mut self, profile: u16, value: &[u8]) -> Result<(), Refused> {
        if self.is_member(profile, value) {
            return Err(Refused::Twice);
        }
        if value.len() > VALUE_BYTES_MAX || self.memberships().count() >= MEMBERSHIPS_MAX {
            return Err(Refused::Full);
        }
        self.push(profile, &[], value);
        Ok(())
    }

    /// Ends a membership; `false` when there is none.
    pub(super) fn leave(&mut self, profile: u16, value: &[u8]) -> bool {
        self.remove(|entry| entry.kind == profile && entry.value == value)
    }

    fn push(&mut self, kind: u16, key: &[u8], value: &[u8]) {
        let length = |text: &[u8]| u16::try_from(text.len()).unwrap_or(0).to_be_bytes();
        self.bytes.extend_from_slice(&kind.to_be_bytes());
        self.bytes.extend_from_slice(&length(key));
        self.bytes.extend_from_slice(&length(value));
        self.bytes.extend_from_slice(key);
        self.bytes.extend_from_slice(value);
    }

    fn remove(&mut self, is_it: impl Fn(&Entry<'_>) -> bool) -> bool {
        let Some((start, end)) =
            self.entries().find(|entry| is_it(entry)).map(|entry| (entry.start, entry.end))
        else {
            return false;
        };
        self.bytes.drain(start..end);
        true
    }

    fn entries(&self) -> impl Iterator<Item = Entry<'_>> {
        let mut start = 0;
        std::iter::from_fn(move || {
            let head: [u8; HEAD] = self.bytes.get(start..start + HEAD)?.try_into().ok()?;
            let number = |high, low| u16::from_be_bytes([high, low]);
            let [a, b, c, d, e, f] = head;
            let (kind, key, value) = (number(a, b), number(c, d), number(e, f));
            let key_end = start + HEAD + usize::from(key);
            let end = key_end + usize::from(value);
            let entry = Entry {
                start,
                end,
                kind,
                key: self.bytes.get(start + HEAD..key_end)?,
                value: self.bytes.get(key_end..end)?,
            };
            start = end;
            Some(entry)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_change_without_touching_their_neighbours() {
        let mut texts = Texts::default();
        texts.set(Field::FromTag, b"a1").expect("room");
        texts.set(Field::CallId, b"call").expect("room");
        texts.set(Field::CalleeRoutes, b"<sip:p;lr>").expect("room");
        texts.set(Field::FromTag, b"").expect("room");
        texts.set(Field::ToTag, b"b1").expect("room");
        texts.set(Field::CallId, b"another call").expect("room");
        assert_eq!(texts.get(Field::CallId), b"another call");
        assert_eq!(texts.get(Field::FromTag), b"");
        assert_eq!(texts.get(Field::ToTag), b"b1");
        assert_eq!(texts.get(Field::CalleeRoutes), b"<sip:p;lr>");
        assert_eq!(texts.set(Field::ToUri, &[b'x'; TEXTS_BYTES_MAX]), Err(TooLong));
        assert_eq!(texts.get(Field::ToTag), b"b1");
    }

    #[test]
    fn variables_and_memberships_lie_side_by_side() {
        let mut pairs = Pairs::default();
        assert_eq!(pairs.set_variable(b"acct", b"gold"), Ok(true));
        assert_eq!(pairs.set_variable(b"acct", b"gold"), Ok(false));
        assert_eq!(pairs.join(3, b"acme"), Ok(()));
        assert_eq!(pairs.join(3, b"acme"), Err(Refused::Twice));
        assert_eq!(pairs.set_variable(b"acct", b"silver"), Ok(true));
        assert_eq!(pairs.variable(b"acct"), Some(&b"silver"[..]));
        assert!(pairs.is_member(3, b"acme") && !pairs.is_member(2, b"acme"));
        assert_eq!(pairs.set_variable(b"acct", b""), Ok(true));
        assert_eq!(pairs.variable(b"acct"), None);
        assert!(pairs.leave(3, b"acme") && !pairs.leave(3, b"acme"));
        assert_eq!((pairs.variables().count(), pairs.memberships().count()), (0, 0));
    }

    #[test]
    fn both_are_bounded() {
        let mut pairs = Pairs::default();
        let long = vec![b'x'; VALUE_BYTES_MAX + 1];
        assert_eq!(pairs.set_variable(b"k", &long), Err(Refused::Full));
        assert_eq!(pairs.join(1, &long), Err(Refused::Full));
        let mut set = |n: usize| pairs.set_variable(n.to_string().as_bytes(), b"v");
        assert!((0..VARIABLES_MAX).all(|n| set(n) == Ok(true)));
        assert_eq!(set(VARIABLES_MAX), Err(Refused::Full));
        let mut join = |n: usize| pairs.join(1, n.to_string().as_bytes());
        assert!((0..MEMBERSHIPS_MAX).all(|n| join(n) == Ok(())));
        assert_eq!(join(MEMBERSHIPS_MAX), Err(Refused::Full));
    }
}
