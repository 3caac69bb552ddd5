//! What has arrived over one connection and is not yet a whole message.
//!
//! For: cutting what was read into messages from where it lies; only what is left over is copied.
//! Not here: how messages are told apart (`core/sip/src/message/stream.rs`), reading
//! (`connection.rs`).
//! Invariants: an inbox without a begun message holds no memory; it never holds more than the
//! limits allow and one read.

use std::ops::Range;
use strowger_sip::buffer::{Buffer, Pool};
use strowger_sip::limits::Limits;
use strowger_sip::message::{Frame, FrameError, Framer, ParseError};
use strowger_sip::time::Instant;

/// What is found at the front of the stream.
pub(super) enum Found<'a> {
    /// A whole message.
    Message(&'a [u8]),
    /// A keep-alive that wants an answer (RFC 5626 §4.4.1).
    Ping,
    /// The stream cannot be cut any further: the head of the message that is wrong, and why.
    Broken(&'a [u8], ParseError),
}

/// Whether it was taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Taken {
    /// Go on to the next.
    Yes,
    /// There is no room for it at this moment: it stays where it is, to be offered again.
    NoRoom,
}

/// How cutting ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Cut {
    /// Everything whole was taken.
    All,
    /// Something was not taken.
    Stalled,
    /// The stream is broken.
    Broken,
}

/// The unfinished front of a stream.
#[derive(Debug, Default)]
pub(super) struct Inbox {
    held: Buffer,
    framer: Framer,
    since: Option<Instant>,
}

impl Inbox {
    /// Bytes that are held.
    pub(super) fn len(&self) -> usize {
        self.held.len()
    }

    /// When the message began whose rest has not come; none while there is only white space.
    pub(super) fn since(&self) -> Option<Instant> {
        self.since
    }

    /// Cuts what was held with what has come after it.
    pub(super) fn cut(
        &mut self,
        fresh: &[u8],
        (limits, now): (&Limits, Instant),
        pool: &mut Pool,
        each: impl FnMut(Found<'_>) -> Taken,
    ) -> Cut {
        let mut held = std::mem::take(&mut self.held);
        if held.is_empty() {
            let (used, cut) = cut(&mut self.framer, fresh, limits, each);
            let rest = fresh.get(used..).unwrap_or(&[]);
            if cut != Cut::Broken && !rest.is_empty() {
                self.hold(pool.copy(rest), now);
            }
            return cut;
        }
        held.extend_from_slice(fresh);
        let (used, cut) = cut(&mut self.framer, &held, limits, each);
        if used == held.len() || cut == Cut::Broken {
            self.since = None;
            pool.put(held);
        } else if used > 0 {
            self.hold(pool.copy(held.get(used..).unwrap_or(&[])), now);
            pool.put(held);
        } else {
            let since = self.since;
            self.hold(held, since.unwrap_or(now));
        }
        cut
    }

    /// Gives back what is held.
    pub(super) fn recycle(&mut self, pool: &mut Pool) {
        pool.put(std::mem::take(&mut self.held));
        self.since = None;
    }

    fn hold(&mut self, held: Buffer, since: Instant) {
        // Half a keep-alive may wait for its other half as long as the connection lasts.
        let begun = held.iter().any(|octet| !b"\r\n".contains(octet));
        self.since = begun.then_some(since);
        self.held = held;
    }
}

/// Offers each whole message; says how many octets are used up.
fn cut(
    framer: &mut Framer,
    stream: &[u8],
    limits: &Limits,
    mut each: impl FnMut(Found<'_>) -> Taken,
) -> (usize, Cut) {
    let mut used = 0;
    loop {
        let rest = stream.get(used..).unwrap_or(&[]);
        let part = |range: Range<usize>| rest.get(range).unwrap_or(&[]);
        let (found, length) = match framer.next(rest, limits) {
            Ok(Frame::Incomplete) => return (used, Cut::All),
            Ok(Frame::Blank(range)) => {
                used += range.end;
                continue;
            }
            Ok(Frame::Ping(range)) => (Found::Ping, range.end),
            Ok(Frame::Message(range)) => (Found::Message(part(range.clone())), range.end),
            Err(FrameError { error, head }) => {
                let _ = each(Found::Broken(part(head), error));
                return (used, Cut::Broken);
            }
        };
        match each(found) {
            Taken::Yes => used += length,
            Taken::NoRoom => return (used, Cut::Stalled),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use strowger_sip::time::secs;

    const BYE: &[u8] = b"BYE sip:h SIP/2.0\r\nTo: x\r\nl: 4\r\n\r\nbody";

    #[derive(Default)]
    struct Rig {
        inbox: Inbox,
        pool: Pool,
        now: Instant,
        found: Vec<String>,
        full: bool,
    }

    impl Rig {
        fn arrives(&mut self, bytes: &[u8]) -> Cut {
            let Rig { inbox, pool, now, found, full } = self;
            inbox.cut(bytes, (&Limits::STREAM, *now), pool, |one| {
                if *full {
                    return Taken::NoRoom;
                }
                found.push(match one {
                    Found::Message(bytes) => String::from_utf8_lossy(bytes).into_owned(),
                    Found::Ping => "ping".to_owned(),
                    Found::Broken(_, error) => error.to_string(),
                });
                Taken::Yes
            })
        }
    }

    #[test]
    fn wherever_a_stream_is_cut_the_same_messages_come_out() {
        let stream = [BYE, b"\r\n\r\n", BYE, b"\r\n", BYE].concat();
        let whole = String::from_utf8_lossy(BYE).into_owned();
        let expected = [whole.as_str(), "ping", &whole, &whole];
        for size in 1..=stream.len() {
            let mut rig = Rig::default();
            for piece in stream.chunks(size) {
                assert_eq!(rig.arrives(piece), Cut::All);
            }
            assert_eq!(rig.found, expected, "in pieces of {size}");
            assert_eq!((rig.inbox.len(), rig.inbox.since()), (0, None));
        }
    }

    #[test]
    fn what_finds_no_room_is_offered_again() {
        let mut rig = Rig { full: true, ..Rig::default() };
        assert_eq!(rig.arrives(&[BYE, BYE].concat()), Cut::Stalled);
        rig.full = false;
        assert_eq!(rig.arrives(b""), Cut::All);
        assert_eq!(rig.found.len(), 2);
        assert_eq!(rig.inbox.len(), 0);
    }

    #[test]
    fn the_time_of_a_begun_message_counts_from_its_first_octet() {
        let mut rig = Rig::default();
        rig.arrives(b"\r\n");
        assert_eq!(rig.inbox.since(), None);
        rig.now = rig.now + secs(5);
        rig.arrives(b"BYE");
        rig.now = rig.now + secs(5);
        rig.arrives(b" sip:");
        assert_eq!(rig.inbox.since(), Some(Instant::START + secs(5)));
    }

    #[test]
    fn a_broken_stream_holds_nothing() {
        let mut rig = Rig::default();
        assert_eq!(rig.arrives(b"BYE sip:h SIP/2.0\r\n"), Cut::All);
        assert_eq!(rig.arrives(b"\r\nBYE"), Cut::Broken);
        assert_eq!((rig.found.len(), rig.inbox.len()), (1, 0));
    }
}
