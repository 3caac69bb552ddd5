//! The beginning of a dialog: `manage`.
//!
//! For: building the record of an initial INVITE, or finding the one that it has begun before.
//! Not here: requests within a dialog (`within.rs`), responses (`reply.rs`).
//! Invariants: an INVITE that is not tracked leaves nothing behind.

use super::cookie::{Key, slot};
use super::record::{Ending, Flags, Leg, Record, Side};
use super::state::State;
use super::table::DialogId;
use super::texts::{Field, Pairs, Texts, TooLong};
use super::{Dialog, DialogEventKind, Draft, Role, today};
use strowger_sip::date::UnixTime;
use strowger_sip::engine::slots::ServerId;
use strowger_sip::message::{Contacts, Message, MethodKind};
use strowger_sip::module::Host;
use strowger_sip::routing::Reply;
use strowger_sip::time::Duration;
use strowger_sip::transport::Flow;

/// Why a request is not tracked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NotManaged {
    /// Only an INVITE begins a dialog.
    NotInvite,
    /// It has no usable Contact.
    NoContact,
    /// Its texts are too long.
    TooLong,
    /// There are as many dialogs as there may be.
    Full,
    /// A request with a To tag that belongs to no dialog of this node.
    Unknown,
    /// Storage has just refused what a call's answer promises (`db_mode` 1).
    NoStorage,
}

impl From<NotManaged> for Reply {
    /// What a routing answers that does not want untracked calls.
    fn from(why: NotManaged) -> Reply {
        match why {
            NotManaged::NotInvite => Reply::server_error(),
            NotManaged::NoContact => Reply::bad_request(),
            NotManaged::TooLong => Reply::new(513),
            NotManaged::Full => Reply::unavailable(5),
            NotManaged::Unknown => Reply::new(481),
            NotManaged::NoStorage => Reply::unavailable(5),
        }
    }
}

impl From<TooLong> for NotManaged {
    fn from(_: TooLong) -> NotManaged {
        NotManaged::TooLong
    }
}

/// The first contact's URI; more than one is tolerated, a star is not.
pub(super) fn contact<'m>(message: Message<'m>) -> Option<&'m [u8]> {
    match message.contacts().ok()? {
        Contacts::Star => None,
        Contacts::List(mut list) => {
            let first = list.next()?.ok()?;
            first.uri().is_ok().then_some(first.uri)
        }
    }
}

impl Dialog {
    /// Tracks an initial INVITE, `lifetime` long unless the draft or the default says otherwise.
    pub(super) fn begin(
        &mut self,
        host: &mut impl Host<Dialog>,
        transaction: ServerId,
        (message, flow): (Message<'_>, Flow),
        lifetime: Option<Duration>,
    ) -> Result<DialogId, NotManaged> {
        let method = message.method().map(|method| method.kind());
        if method != Some(MethodKind::Invite) {
            return Err(NotManaged::NotInvite);
        }
        let Some(attached) = host.attached(transaction) else { return Err(NotManaged::Unknown) };
        if let Some(dialog) = attached.dialog {
            return Ok(dialog);
        }
        let call_id = message.call_id().unwrap_or(&[]);
        let from_tag = message.from_tag().unwrap_or(&[]);
        let begun = self.table.begun_by(call_id, from_tag).filter(|_| self.settings.detect_spirals);
        let (id, role) = match begun {
            Some(id) => (id, Role::Spiral),
            None if self.is_storage_shy(host.now()) => return Err(NotManaged::NoStorage),
            None => {
                let record = self.new_record(host, message, flow)?;
                let id = self.table.insert(record).ok_or(NotManaged::Full);
                (id.inspect_err(|_| self.counters.refused += 1)?, Role::Invite)
            }
        };
        let draft = host.attached(transaction).and_then(|attached| {
            attached.dialog = Some(id);
            attached.role = role;
            attached.method = method;
            attached.cseq = message.cseq().map_or(0, |cseq| cseq.number);
            attached.untold = role == Role::Invite;
            attached.draft.take()
        });
        if let Some(record) = self.table.get_mut(id) {
            record.holders = record.holders.saturating_add(1);
        }
        if role == Role::Spiral {
            self.drop_draft(host, draft);
            self.tell(host, id, DialogEventKind::Spiraled);
            return Ok(id);
        }
        self.counters.processed += 1;
        self.settle_draft(host, (id, transaction), draft, lifetime);
        if self.settings.created_at_once {
            self.tell_created(host, id, transaction);
        }
        self.rearm(host, id);
        Ok(id)
    }

    pub(super) fn tell_created(
        &mut self,
        host: &mut impl Host<Dialog>,
        id: DialogId,
        transaction: ServerId,
    ) {
        let untold = host.attached(transaction).map(|attached| &mut attached.untold);
        if untold.is_some_and(std::mem::take) {
            self.tell(host, id, DialogEventKind::Created);
        }
    }

    /// What the routing has said before goes into the record.
    fn settle_draft(
        &mut self,
        host: &impl Host<Dialog>,
        (id, transaction): (DialogId, ServerId),
        draft: Option<Box<Draft>>,
        lifetime: Option<Duration>,
    ) {
        let now = host.now();
        let Some(record) = self.table.get_mut(id) else { return };
        record.invite = Some(transaction);
        record.watch = Some(now + self.settings.early_timeout);
        record.flags.set(Flags::BYE_ON_TIMEOUT, self.settings.send_bye);
        record.flags.set(Flags::NO_RESET, self.settings.timeout_noreset);
        let (caller, callee) = self.settings.keep_alive.sides;
        record.flags.set(Flags::KA_CALLER, caller);
        record.flags.set(Flags::KA_CALLEE, callee);
        let default = self.settings.lifetime;
        let mut seconds = lifetime.map(|span| span.as_secs());
        let Some(mut draft) = draft else {
            record.lifetime_seconds = whole(seconds.unwrap_or(default.as_secs()));
            return;
        };
        seconds = seconds.or(draft.lifetime_seconds.map(u64::from));
        record.lifetime_seconds = whole(seconds.unwrap_or(default.as_secs()));
        record.flags.0 |= draft.flags.0;
        record.script_flags = draft.script_flags;
        // Memory for memory: the draft keeps what the record had.
        std::mem::swap(&mut record.pairs, &mut draft.pairs);
        if record.texts.set(Field::TimeoutRoute, draft.timeout_route.as_bytes()).is_err() {
            self.counters.refused += 1;
        }
        self.free_draft(draft);
    }

    fn new_record(
        &mut self,
        host: &impl Host<Dialog>,
        message: Message<'_>,
        flow: Flow,
    ) -> Result<Record, NotManaged> {
        let contact = contact(message).ok_or(NotManaged::NoContact)?;
        let call_id = message.call_id().unwrap_or(&[]);
        let ids = self.ids(host);
        let key = self.table.new_key(slot(call_id, self.settings.slots), ids);
        let (mut texts, pairs) = (self.table.texts(), self.table.pairs());
        let mut routes = std::mem::take(&mut self.scratch);
        routes.clear();
        join_routes(message, &mut routes);
        let filled = fill(&mut texts, message, contact, &routes);
        self.scratch = routes;
        filled?;
        let caller = Leg {
            cseq: message.cseq().ok().map(|cseq| cseq.number),
            listener: Some(flow.listener),
            ..Leg::default()
        };
        let legs = [caller, Leg::default()];
        let begun = Some(host.now());
        let mut record = Record { legs, begun, init: today(host), ..empty(key, texts, pairs) };
        record.note_flow(Side::Caller, flow);
        Ok(record)
    }
}

/// A record without history.
pub(super) fn empty(key: Key, texts: Texts, pairs: Pairs) -> Record {
    let never = UnixTime::default();
    Record {
        key,
        cookie: key,
        state: State::Unconfirmed,
        ending: Ending::No,
        flags: Flags::default(),
        script_flags: 0,
        legs: [Leg::default(), Leg::default()],
        texts,
        pairs,
        extra: None,
        begun: None,
        init: never,
        start: never,
        end: never,
        lifetime_seconds: 0,
        deadline: None,
        keep_alive: None,
        session: None,
        watch: None,
        timer: None,
        invite: None,
        holders: 0,
        next: None,
    }
}

fn fill(
    texts: &mut Texts,
    message: Message<'_>,
    contact: &[u8],
    routes: &[u8],
) -> Result<(), TooLong> {
    // Room for the callee's leg, too: about as much as the caller's.
    let uri = message.request_uri().unwrap_or(&[]).len();
    texts.reserve(message.call_id().unwrap_or(&[]).len() + 5 * uri + 2 * contact.len() + 64);
    texts.set(Field::CallId, message.call_id().unwrap_or(&[]))?;
    texts.set(Field::FromUri, message.from().map_or(&[][..], |from| from.uri))?;
    texts.set(Field::FromTag, message.from_tag().unwrap_or(&[]))?;
    texts.set(Field::ToUri, message.to().map_or(&[][..], |to| to.uri))?;
    texts.set(Field::RequestUri, message.request_uri().unwrap_or(&[]))?;
    texts.set(Side::Caller.contact(), contact)?;
    texts.set(Side::Caller.routes(), routes)
}

/// A span's whole seconds, at least one.
fn whole(seconds: u64) -> u32 {
    u32::try_from(seconds).unwrap_or(u32::MAX).max(1)
}

/// The Record-Route values of a message in order, as one header's value.
pub(super) fn join_routes(message: Message<'_>, out: &mut Vec<u8>) {
    for route in message.record_routes().filter_map(Result::ok) {
        if !out.is_empty() {
            out.push(b',');
        }
        out.extend_from_slice(route.raw);
    }
}
