//! One dialog: everything that this node remembers of a call.
//!
//! For: both legs with their numbers, times, flags, texts; a few hundred bytes in all.
//! Not here: where records lie and how they are found (`table.rs`), what changes them.
//! Invariants: the state changes through the table alone, which counts states.

use super::cookie::Key;
use super::promise::PromiseId;
use super::state::State;
use super::table::DialogId;
use super::texts::{Field, Pairs, Texts};
use strowger_sip::date::UnixTime;
use strowger_sip::engine::slots::ServerId;
use strowger_sip::time::Instant;
use strowger_sip::transport::{Flow, ListenerId};
use strowger_sip::wheel::TimerId;

/// Who of the two: the sender of the initial INVITE, or the other one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Side {
    /// The sender of the initial INVITE.
    Caller,
    /// Who answered it.
    Callee,
}

impl Side {
    /// Both.
    pub const BOTH: [Side; 2] = [Side::Caller, Side::Callee];

    /// The one at the other end.
    pub const fn other(self) -> Side {
        match self {
            Side::Caller => Side::Callee,
            Side::Callee => Side::Caller,
        }
    }

    pub(super) const fn contact(self) -> Field {
        match self {
            Side::Caller => Field::CallerContact,
            Side::Callee => Field::CalleeContact,
        }
    }

    pub(super) const fn routes(self) -> Field {
        match self {
            Side::Caller => Field::CallerRoutes,
            Side::Callee => Field::CalleeRoutes,
        }
    }

    pub(super) const fn uri(self) -> Field {
        match self {
            Side::Caller => Field::FromUri,
            Side::Callee => Field::ToUri,
        }
    }

    pub(super) const fn tag(self) -> Field {
        match self {
            Side::Caller => Field::FromTag,
            Side::Callee => Field::ToTag,
        }
    }
}

/// Why a dialog ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cause {
    /// The caller hung up.
    CallerBye,
    /// The callee hung up.
    CalleeBye,
    /// Its lifetime was over.
    Timeout,
    /// A command ended it.
    Admin,
    /// The routing or another module ended it.
    Script,
    /// A party did not answer keep-alives.
    KeepAlive,
    /// The ACK never came.
    NoAck,
    /// The session was not refreshed in time (RFC 4028).
    SessionExpired,
    /// It was a second answer that is not wanted.
    Extra,
}

impl Cause {
    /// Its name in events and counters.
    pub const fn name(self) -> &'static str {
        match self {
            Cause::CallerBye => "caller_bye",
            Cause::CalleeBye => "callee_bye",
            Cause::Timeout => "timeout",
            Cause::Admin => "admin",
            Cause::Script => "script",
            Cause::KeepAlive => "keepalive",
            Cause::NoAck => "noack",
            Cause::SessionExpired => "session_expired",
            Cause::Extra => "extra_answer",
        }
    }
}

/// How far a dialog's end has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ending {
    /// Nobody has ended it.
    No,
    /// BYEs were sent from here; the first answer ends it.
    Asked(Cause),
    /// A party has sent a BYE; its answer tells whether that was the last word.
    Hung(Cause),
    /// Everybody was told.
    Told,
}

/// What became of a BYE that was sent from here.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Bye {
    /// None was sent.
    #[default]
    None,
    /// It was sent.
    Sent,
    /// It was answered with this status.
    Answered(u16),
    /// The party has sent one itself.
    Own,
}

/// One party's side of a dialog.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Leg {
    /// The number of its last request; `None` when none was seen.
    pub(super) cseq: Option<u32>,
    /// How much is added to its numbers on their way to the other party.
    pub(super) shift: u32,
    /// The same as its last INVITE got it, for that INVITE's ACK and PRACKs.
    pub(super) invite_shift: u32,
    /// Where its messages come in.
    pub(super) listener: Option<ListenerId>,
    /// The socket pair that leads to it, where its contact does not: over a stream, or to somebody
    /// behind an address translator.
    pub(super) flow: Option<Flow>,
    pub(super) bye: Bye,
    /// Keep-alives in a row that failed.
    pub(super) ka_failures: u8,
    /// When it last answered one.
    pub(super) ka_answered: UnixTime,
}

/// Internal flags of a dialog, those that the table `dialog` keeps in `iflags`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Flags(pub(super) u16);

impl Flags {
    pub(super) const BYE_ON_TIMEOUT: Flags = Flags(1);
    pub(super) const KA_CALLER: Flags = Flags(2);
    pub(super) const KA_CALLEE: Flags = Flags(4);
    pub(super) const NO_RESET: Flags = Flags(8);
    pub(super) const SHIFTED: Flags = Flags(16);
    pub(super) const PRACK_SEEN: Flags = Flags(32);
    /// Of these the table keeps nothing.
    /// The lifetime was cut: a party does not answer keep-alives.
    pub(super) const CUT: Flags = Flags(128);
    pub(super) const CALLEE_KNOWN: Flags = Flags(256);
    pub(super) const LOADED: Flags = Flags(512);
    pub(super) const EXPIRED: Flags = Flags(1024);
    pub(super) const STORED: Flags = Flags(2048);
    pub(super) const DIRTY: Flags = Flags(4096);
    pub(super) const HAS_BYE: Flags = Flags(16_384);
    /// The lifetime was cut: the ACK did not come.
    pub(super) const NO_ACK: Flags = Flags(32_768);

    /// What the table keeps.
    pub(super) const KEPT: u16 = 127;

    pub(super) const fn has(self, flag: Flags) -> bool {
        self.0 & flag.0 == flag.0
    }

    pub(super) fn set(&mut self, flag: Flags, on: bool) {
        if on {
            self.0 |= flag.0;
        } else {
            self.0 &= !flag.0;
        }
    }
}

/// An early dialog beside the first one of its call (RFC 3261 §12.1.2).
#[derive(Clone, Debug)]
pub(super) struct EarlyLeg {
    pub(super) tag: Box<[u8]>,
    pub(super) contact: Box<[u8]>,
    pub(super) routes: Box<[u8]>,
    pub(super) listener: Option<ListenerId>,
    pub(super) cseq: Option<u32>,
}

/// What few dialogs have.
#[derive(Clone, Debug, Default)]
pub(super) struct Extra {
    /// Early dialogs by other tags than the first one.
    pub(super) early: Vec<EarlyLeg>,
    /// A second answer that is ended once it is acknowledged.
    pub(super) unwanted: bool,
    /// Header lines of the BYEs that are sent from here.
    pub(super) bye_headers: Vec<u8>,
    /// The answer waits for storage.
    pub(super) promise: Option<PromiseId>,
    /// The answer was taken back: its copies are acknowledged from here.
    pub(super) taken_back: bool,
}

impl Extra {
    /// Whether nothing is in it.
    pub(super) fn is_plain(&self) -> bool {
        let Extra { early, unwanted, bye_headers, promise, taken_back } = self;
        early.is_empty()
            && bye_headers.is_empty()
            && promise.is_none()
            && !*unwanted
            && !*taken_back
    }
}

/// A dialog.
#[derive(Debug)]
pub(super) struct Record {
    pub(super) key: Key,
    /// The key in the cookie; a dialog of a second answer has the first one's.
    pub(super) cookie: Key,
    /// Changed by the table alone.
    pub(super) state: State,
    pub(super) ending: Ending,
    pub(super) flags: Flags,
    /// The routing's own flags.
    pub(super) script_flags: u32,
    pub(super) legs: [Leg; 2],
    pub(super) texts: Texts,
    pub(super) pairs: Pairs,
    pub(super) extra: Option<Box<Extra>>,
    /// When the INVITE came, to be measured from; `None` for a dialog that was loaded.
    pub(super) begun: Option<Instant>,
    /// When the INVITE came, when it was answered, when the dialog ended; zero for not yet.
    pub(super) init: UnixTime,
    pub(super) start: UnixTime,
    pub(super) end: UnixTime,
    pub(super) lifetime_seconds: u32,
    /// When the lifetime is over, while it runs.
    pub(super) deadline: Option<Instant>,
    /// When the next keep-alive is due.
    pub(super) keep_alive: Option<Instant>,
    /// When the session must have been refreshed (RFC 4028).
    pub(super) session: Option<Instant>,
    /// What is done about its state next: too long early, never acknowledged, not freed.
    pub(super) watch: Option<Instant>,
    /// The earliest of these.
    pub(super) timer: Option<TimerId>,
    /// The INVITE's transaction, while nobody has answered.
    pub(super) invite: Option<ServerId>,
    /// Transactions that belong to it, and requests of its own that wait for an answer.
    pub(super) holders: u16,
    /// The next dialog of the same Call-ID.
    pub(super) next: Option<DialogId>,
}

impl Record {
    pub(super) fn text(&self, field: Field) -> &[u8] {
        self.texts.get(field)
    }

    pub(super) fn leg(&self, side: Side) -> &Leg {
        let [caller, callee] = &self.legs;
        match side {
            Side::Caller => caller,
            Side::Callee => callee,
        }
    }

    pub(super) fn leg_mut(&mut self, side: Side) -> &mut Leg {
        let [caller, callee] = &mut self.legs;
        match side {
            Side::Caller => caller,
            Side::Callee => callee,
        }
    }

    /// Whether the callee's leg is that of a 2xx, and not of a provisional response.
    pub(super) fn knows_callee(&self) -> bool {
        self.flags.has(Flags::CALLEE_KNOWN)
    }

    /// The number that a request from here to `to` gets, so many above the last one that it saw.
    pub(super) fn number_above(&self, to: Side, more: u32) -> u32 {
        let from = self.leg(to.other());
        let seen = from.cseq.unwrap_or(0).saturating_add(from.shift);
        seen.saturating_add(more).min(super::limits::CSEQ_LIMIT - 1)
    }

    /// How long it lasted, or lasts, in seconds; 0 before the answer.
    pub(super) fn duration(&self, today: UnixTime) -> u64 {
        if self.start == UnixTime::default() {
            return 0;
        }
        let end = if self.end == UnixTime::default() { today } else { self.end };
        end.since(self.start).as_secs()
    }

    /// When its timer has something to do.
    pub(super) fn due(&self) -> Option<Instant> {
        [self.deadline, self.keep_alive, self.session, self.watch].into_iter().flatten().min()
    }

    /// Whether its BYEs went out and nobody answered yet.
    pub(super) fn is_asked(&self) -> bool {
        matches!(self.ending, Ending::Asked(_))
    }
}
