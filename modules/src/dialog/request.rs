//! What a routing says to the dialog of a request.
//!
//! For: Kamailio's `dlg_*` functions as methods, each where it is legal: what begins a call, what
//! changes it, what ends it.
//! Not here: limits (`reserve.rs`).
//! Invariants: what is said before a dialog exists goes into it when it begins, and is dropped when
//! the request is answered without one.

use super::bridge::{Asked, BridgeMode};
use super::end::Terminated;
use super::event::text;
use super::record::{Cause, Flags, Record, Side};
use super::state::{Incident, State, Step};
use super::texts::Field;
use super::{Dialog, Key, NotManaged, Role, dialog_of};
use std::marker::PhantomData;
use strowger_sip::date::UnixTime;
use strowger_sip::module::host::HostAt;
use strowger_sip::module::{Has, Host};
use strowger_sip::routing::{ListOf, Request, RequestIds as Ids, Routing};
use strowger_sip::time::Duration;

/// Gives a request its `dialog()`.
pub trait DialogRequest<'a, R: Routing, N> {
    /// The dialog that the request belongs to, or begins.
    ///
    /// ```text
    /// request.dialog().timeout(2 * HOUR).bye_on_timeout()
    ///     .reserve("caller", user, 30).await.or(Reply::busy_here())?;
    /// ```
    fn dialog(&mut self) -> DialogOf<'_, 'a, R, N>
    where
        ListOf<R>: Has<Dialog, N>;
}

// The bound is the method's and not the implementation's: then the compiler names the module that
// is missing.
impl<'a, R: Routing, N> DialogRequest<'a, R, N> for Request<'a, R> {
    fn dialog(&mut self) -> DialogOf<'_, 'a, R, N>
    where
        ListOf<R>: Has<Dialog, N>,
    {
        DialogOf { request: self, place: PhantomData }
    }
}

/// A property of a dialog (`dlg_set_property`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Property {
    /// `ka-src`: keep-alives to the caller.
    KeepAliveCaller,
    /// `ka-dst`: keep-alives to the callee.
    KeepAliveCallee,
    /// `timeout-noreset`: requests within the dialog do not begin its lifetime anew.
    TimeoutNoReset,
    /// `timeout_bye`: both parties get a BYE when the lifetime is over.
    ByeOnTimeout,
}

impl Property {
    /// The property of this name, as Kamailio writes it.
    pub fn from_name(name: &str) -> Option<Property> {
        match name {
            "ka-src" => Some(Property::KeepAliveCaller),
            "ka-dst" => Some(Property::KeepAliveCallee),
            "timeout-noreset" => Some(Property::TimeoutNoReset),
            "timeout_bye" => Some(Property::ByeOnTimeout),
            _ => None,
        }
    }

    fn flag(self) -> Flags {
        match self {
            Property::KeepAliveCaller => Flags::KA_CALLER,
            Property::KeepAliveCallee => Flags::KA_CALLEE,
            Property::TimeoutNoReset => Flags::NO_RESET,
            Property::ByeOnTimeout => Flags::BYE_ON_TIMEOUT,
        }
    }
}

/// A dialog as it is at this moment: `$dlg(...)`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Snapshot {
    /// Everything that events tell, too.
    pub facts: super::Facts,
    /// Who has sent this request, as directions are numbered: 1 the caller, 2 the callee.
    pub direction: u8,
    /// The routing's own flags (`sflags`).
    pub script_flags: u32,
    /// How long since the answer, or how long it lasted, in seconds.
    pub duration_seconds: u64,
    /// What is left of its lifetime, while that runs.
    pub left: Option<Duration>,
}

/// A request's dialog, or what is to become one.
#[doc = include_str!("functions.md")]
#[must_use]
pub struct DialogOf<'q, 'a, R: Routing, N> {
    request: &'q mut Request<'a, R>,
    place: PhantomData<N>,
}

type HostOf<'h, R, N> = HostAt<'h, ListOf<R>, Dialog, N>;

impl<'q, 'a, R: Routing, N> DialogOf<'q, 'a, R, N>
where
    ListOf<R>: Has<Dialog, N>,
{
    pub(super) fn with<T>(
        &self,
        work: impl FnOnce(&mut Dialog, &mut HostOf<'_, R, N>, &Ids) -> T,
    ) -> T {
        self.request.module(work)
    }

    pub(super) fn request(&self) -> &Request<'a, R> {
        self.request
    }

    /// Tracks the call that this INVITE begins, or finds the dialog of a request with a To tag by
    /// its tags (`dlg_manage`).
    ///
    /// # Errors
    /// Why it is not tracked; it can be relayed all the same.
    pub fn manage(&mut self) -> Result<(), NotManaged> {
        let message = self.request.message();
        let flow = self.request.source();
        let variable = self.with(|dialog, _, _| dialog.settings.timeout_variable.clone());
        let seconds = variable.and_then(|name| self.request.get(&name)?.parse::<u32>().ok());
        let lifetime = seconds.filter(|seconds| *seconds > 0);
        self.with(|dialog, host, ids| {
            if message.to_tag().is_some() {
                let found = dialog.meet_by_tags(host, ids.transaction, (message, flow));
                let id = found.ok_or(NotManaged::Unknown)?;
                if let Some(seconds) = lifetime {
                    dialog.set_lifetime(host, id, seconds);
                }
                return Ok(());
            }
            let transaction = ids.transaction.ok_or(NotManaged::NotInvite)?;
            let span = lifetime.map(|seconds| Duration::from_secs(u64::from(seconds)));
            dialog.begin(host, transaction, (message, flow), span).map(|_| ())
        })
    }

    /// How long the call may last (`dlg_set_timeout`): from here on when it is established,
    /// otherwise from its answer on.
    pub fn timeout(self, lifetime: Duration) -> Self {
        let seconds = u32::try_from(lifetime.as_secs()).unwrap_or(u32::MAX).max(1);
        self.with(|dialog, host, ids| match dialog_of(host, ids.transaction) {
            Some(id) => {
                dialog.set_lifetime(host, id, seconds);
            }
            None => dialog.draft_of(host, ids, |draft| draft.lifetime_seconds = Some(seconds)),
        });
        self
    }

    /// Both parties get a BYE when the lifetime is over (`$dlg_ctx(timeout_bye)`).
    pub fn bye_on_timeout(self) -> Self {
        self.property(Property::ByeOnTimeout, true)
    }

    /// Names what the routing does when the lifetime is over; its `event` hears the name
    /// (`$dlg_ctx(timeout_route)`).
    pub fn timeout_route(self, name: &str) -> Self {
        // The table's column has 32 characters.
        let name: String = name.chars().take(31).collect();
        self.with(|dialog, host, ids| match dialog_of(host, ids.transaction) {
            Some(id) => {
                if let Some(record) = dialog.table.get_mut(id) {
                    let _ = record.texts.set(Field::TimeoutRoute, name.as_bytes());
                }
                dialog.changed(host, id);
            }
            None => dialog.draft_of(host, ids, |draft| draft.timeout_route = name),
        });
        self
    }

    /// Sets or clears a property (`dlg_set_property`, `dlg_reset_property`).
    pub fn property(self, property: Property, on: bool) -> Self {
        let flag = property.flag();
        self.with(|dialog, host, ids| match dialog_of(host, ids.transaction) {
            Some(id) => {
                if let Some(record) = dialog.table.get_mut(id) {
                    record.flags.set(flag, on);
                }
                dialog.start_keep_alive(host, id);
                dialog.rearm(host, id);
                dialog.changed(host, id);
            }
            None => dialog.draft_of(host, ids, |draft| draft.flags.set(flag, on)),
        });
        self
    }

    /// Sets or clears one of the routing's own flags, 0 to 31 (`dlg_setflag`, `dlg_resetflag`).
    pub fn set_flag(self, flag: u8, on: bool) -> Self {
        let bit = 1u32.checked_shl(u32::from(flag)).unwrap_or(0);
        let change = |flags: &mut u32| {
            if on {
                *flags |= bit;
            } else {
                *flags &= !bit;
            }
        };
        self.with(|dialog, host, ids| match dialog_of(host, ids.transaction) {
            Some(id) => {
                if let Some(record) = dialog.table.get_mut(id) {
                    change(&mut record.script_flags);
                }
                dialog.changed(host, id);
            }
            None => dialog.draft_of(host, ids, |draft| change(&mut draft.script_flags)),
        });
        self
    }

    /// Whether such a flag is set (`dlg_isflagset`).
    pub fn has_flag(&self, flag: u8) -> bool {
        let bit = 1u32.checked_shl(u32::from(flag)).unwrap_or(0);
        let flags = self.with(|dialog, host, ids| match dialog_of(host, ids.transaction) {
            Some(id) => dialog.table.get(id).map_or(0, |record| record.script_flags),
            None => dialog.read_draft(host, ids, |draft| draft.script_flags).unwrap_or(0),
        });
        flags & bit != 0
    }

    /// Sets a variable of the call; an empty value removes it (`$dlg_var`). `false` when there are
    /// too many, or it is too long.
    pub fn set_variable(&mut self, key: &str, value: &str) -> bool {
        let (key, value) = (key.as_bytes(), value.as_bytes());
        self.with(|dialog, host, ids| match dialog_of(host, ids.transaction) {
            Some(id) => dialog.set_variable(host, id, key, value),
            None => {
                let mut kept = false;
                dialog.draft_of(host, ids, |draft| {
                    kept = draft.pairs.set_variable(key, value).is_ok();
                });
                kept
            }
        })
    }

    /// A variable of the call.
    pub fn variable(&self, key: &str) -> Option<String> {
        let key = key.as_bytes();
        self.with(|dialog, host, ids| match dialog_of(host, ids.transaction) {
            Some(id) => dialog.table.get(id)?.pairs.variable(key).map(text),
            None => dialog.read_draft(host, ids, |draft| draft.pairs.variable(key).map(text))?,
        })
    }

    /// Sets a variable to a whole number. A number stays one in storage: it is a text that reads as
    /// one and as nothing else.
    pub fn set_number(&mut self, key: &str, number: i64) -> bool {
        self.set_variable(key, &number.to_string())
    }

    /// A variable that is a whole number; `None` when there is none, or a text.
    pub fn number(&self, key: &str) -> Option<i64> {
        let text = self.variable(key)?;
        text.parse::<i64>().ok().filter(|number| number.to_string() == text)
    }

    /// Takes the dialogs of a Call-ID from storage (`dlg_db_load_callid`); `false` without storage,
    /// or for a call that is at home on another shard.
    pub fn load_call(&self, call_id: &str) -> bool {
        self.with(|dialog, host, _| {
            host.map().home(call_id.as_bytes()) == host.shard() && dialog.load_call(host, call_id)
        })
    }

    /// Takes from storage every dialog that is not known here (`dlg_db_load_extra`); each shard
    /// takes its own. `false` without storage.
    pub fn load_extra(&self) -> bool {
        self.with(|dialog, host, _| dialog.load_extra_everywhere(host))
    }

    /// Puts the call into a profile (`set_dlg_profile`). `false` when there is no such profile, a
    /// value is missing, or the call is in too many. A call is in a profile once.
    pub fn set_profile(&mut self, profile: &str, value: &str) -> bool {
        self.with(|dialog, host, ids| {
            let Some(group) = dialog.group(profile, value) else { return false };
            let Some(transaction) = ids.transaction else { return false };
            dialog.is_member(host, transaction, &group) || dialog.enlist(host, ids, group)
        })
    }

    /// Takes it out again (`unset_dlg_profile`); `false` when it was not in it.
    pub fn unset_profile(&mut self, profile: &str, value: &str) -> bool {
        self.with(|dialog, host, ids| {
            let Some(group) = dialog.group(profile, value) else { return false };
            match dialog_of(host, ids.transaction) {
                Some(id) => dialog.leave(host, id, group),
                None => dialog.leave_draft(host, ids, group),
            }
        })
    }

    /// Whether the call is in a profile (`is_in_profile`).
    pub fn is_in_profile(&self, profile: &str, value: &str) -> bool {
        self.with(|dialog, host, ids| {
            let Some(group) = dialog.group(profile, value) else { return false };
            ids.transaction.is_some_and(|transaction| dialog.is_member(host, transaction, &group))
        })
    }

    /// Every call of a profile, or of one of its values, lasts so long from here on
    /// (`dlg_set_timeout_by_profile`). `false` when there is no such profile.
    pub fn timeout_by_profile(&self, profile: &str, value: Option<&str>, span: Duration) -> bool {
        let seconds = u32::try_from(span.as_secs()).unwrap_or(u32::MAX).max(1);
        self.with(|dialog, host, _| dialog.lifetimes(host, profile, value, seconds))
    }

    /// Notes or removes a membership of another node's call (`dlg_remote_profile`); `until` zero is
    /// for ever, `None` removes it.
    pub fn remote_profile(
        &self,
        profile: &str,
        value: &str,
        uid: &str,
        until: Option<UnixTime>,
    ) -> bool {
        self.with(|dialog, host, _| {
            let Some(group) = dialog.group(profile, value) else { return false };
            dialog.tell_remote(host, group, uid, until);
            true
        })
    }

    /// Whether the request belongs to a call that is tracked (`is_known_dlg`).
    pub fn is_known(&self) -> bool {
        let message = self.request.message();
        self.with(|dialog, host, ids| {
            if dialog_of(host, ids.transaction).is_some() {
                return true;
            }
            let call_id = message.call_id().unwrap_or(&[]);
            let (from, to) = (message.from_tag(), message.to_tag());
            let (from, to) = (from.unwrap_or(&[]), to.unwrap_or(&[]));
            dialog.table.by_tags(call_id, from, to).is_some()
        })
    }

    /// The dialog as it is (`$dlg(...)`, `$DLG_status`, `$DLG_lifetime`).
    pub fn snapshot(&self) -> Option<Snapshot> {
        self.with(|dialog, host, ids| {
            let attached = host.attached(ids.transaction?)?;
            let (id, role) = (attached.dialog?, attached.role);
            let from = match role {
                Role::Within(from) => from,
                Role::None | Role::Invite | Role::Spiral => Side::Caller,
            };
            let record = dialog.table.get(id)?;
            Some(Snapshot {
                facts: record.facts(),
                direction: super::direction(from),
                script_flags: record.script_flags,
                duration_seconds: record.duration(super::today(host)),
                left: record.left(host.now()),
            })
        })
    }

    /// Ends the call (`dlg_bye`): a BYE to these sides, or the refusal of what was not answered
    /// yet.
    pub fn bye(&mut self, sides: &[Side]) -> Terminated {
        self.with(|dialog, host, ids| match dialog_of(host, ids.transaction) {
            Some(id) => dialog.terminate(host, id, Cause::Script, sides, &[]),
            None => Terminated::Unknown,
        })
    }

    /// Asks the party opposite to `side` to call somewhere else (`dlg_refer`).
    pub fn refer(&mut self, side: Side, target: &str) -> bool {
        self.with(|dialog, host, ids| match dialog_of(host, ids.transaction) {
            Some(id) => dialog.refer(host, id, side, target),
            None => false,
        })
    }

    /// Sets a call up between two others (`dlg_bridge`): `from` is called, and asked to call `to`.
    pub fn bridge(&self, from: &str, to: &str, outbound_proxy: Option<&str>) -> bool {
        self.bridge_with(from, to, outbound_proxy, None).is_some()
    }

    /// The same in a given mode, else as `bridge_mode` says; the name by which `dlg.bridge_status`
    /// tells how far it has come.
    pub fn bridge_with(
        &self,
        from: &str,
        to: &str,
        outbound_proxy: Option<&str>,
        mode: Option<BridgeMode>,
    ) -> Option<String> {
        self.with(|dialog, host, _| {
            let mode = mode.unwrap_or(dialog.settings.bridge.mode);
            let asked = Asked { from, to, next_hop: outbound_proxy, body: None, mode };
            let id = dialog.bridge(host, &asked).ok()?;
            Some(dialog.bridge_handle(host, id))
        })
    }

    /// Sends a request within the call, to `to` in the name of the other (`dlg_req_within`);
    /// `headers` are whole lines.
    pub fn request_within(
        &mut self,
        to: Side,
        method: &str,
        headers: &str,
        body: Option<(&str, &[u8])>,
    ) -> bool {
        let Some(headers) = lines_of(method, headers, body) else { return false };
        self.with(|dialog, host, ids| match dialog_of(host, ids.transaction) {
            Some(id) => dialog.send_within(host, (id, to), (method, &headers), body),
            None => false,
        })
    }

    /// The same to the callee of one early dialog, by the To tag of its provisional response: a
    /// call that forks has several.
    pub fn request_within_fork(
        &mut self,
        to_tag: &str,
        method: &str,
        headers: &str,
        body: Option<(&str, &[u8])>,
    ) -> bool {
        let Some(headers) = lines_of(method, headers, body) else { return false };
        self.with(|dialog, host, ids| match dialog_of(host, ids.transaction) {
            Some(id) => {
                dialog.send_to_fork(host, (id, to_tag.as_bytes()), (method, &headers), body)
            }
            None => false,
        })
    }

    /// The next branch of this request carries a CSeq number one greater than the last one's: for a
    /// retry with credentials. The number, or `None` when the request belongs to no dialog.
    pub fn raise_cseq(&mut self) -> Option<u32> {
        self.with(|dialog, host, ids| dialog.raise(host, ids.transaction?))
    }

    /// How much is added to the numbers of a party on their way to the other.
    pub fn cseq_shift(&self, of: Side) -> u32 {
        self.with(|dialog, host, ids| {
            let id = dialog_of(host, ids.transaction);
            id.and_then(|id| dialog.table.get(id)).map_or(0, |record| record.leg(of).shift)
        })
    }

    /// The contact of the party that this request goes to, for its Request-URI (`dlg_set_ruri`).
    pub fn target(&self) -> Option<String> {
        self.with(|dialog, host, ids| {
            let attached = host.attached(ids.transaction?)?;
            let Role::Within(from) = attached.role else { return None };
            let record = dialog.table.get(attached.dialog?)?;
            let contact = record.text(from.other().contact());
            (!contact.is_empty()).then(|| text(contact))
        })
    }

    /// Keeps the sender's contact from this request (`dlg_update_contact`).
    pub fn update_contact(&mut self) -> bool {
        let message = self.request.message();
        self.change_leg(|record, side| match super::create::contact(message) {
            Some(contact) => record.texts.set(side.contact(), contact).is_ok(),
            None => false,
        })
    }

    /// Keeps the socket at which this request came in as its sender's (`dlg_update_socket`).
    pub fn update_socket(&mut self) -> bool {
        let listener = self.request.source().listener;
        self.change_leg(|record, side| {
            record.leg_mut(side).listener = Some(listener);
            true
        })
    }

    fn change_leg(&self, change: impl FnOnce(&mut Record, Side) -> bool) -> bool {
        self.with(|dialog, host, ids| {
            let Some(attached) = ids.transaction.and_then(|id| host.attached(id)) else {
                return false;
            };
            let side = match attached.role {
                Role::Within(from) => from,
                Role::Invite | Role::Spiral => Side::Caller,
                Role::None => return false,
            };
            let Some(id) = attached.dialog else { return false };
            let done = dialog.table.get_mut(id).is_some_and(|record| change(record, side));
            dialog.changed(host, id);
            done
        })
    }

    /// Moves the dialog's state by this request, without timers and events (`dlg_update_state`,
    /// for `dlg_mode = 1`).
    pub fn update_state(&mut self) -> Option<Step> {
        let message = self.request.message();
        let incident = Incident::of_request(self.request.method());
        self.with(|dialog, host, ids| {
            let id = dialog_of(host, ids.transaction).or_else(|| {
                let call_id = message.call_id().ok()?;
                let tags = (message.from_tag()?, message.to_tag()?);
                Some(dialog.table.by_tags(call_id, tags.0, tags.1)?.dialog)
            })?;
            Some(dialog.update_state(id, incident))
        })
    }

    /// Forces the dialog's state (`dlg_set_state`).
    pub fn set_state(&mut self, state: State) -> bool {
        self.with(|dialog, host, ids| match dialog_of(host, ids.transaction) {
            Some(id) => dialog.force_state(host, id, state),
            None => false,
        })
    }

    /// The same methods on another call of this shard: `dlg_get`, `dlg_get_var`, `dlg_set_var` by
    /// Call-ID and tags. A call that is at home on another shard is not found.
    pub fn of_call(&self, call_id: &str, from_tag: &str, to_tag: &str) -> Option<Key> {
        self.with(|dialog, _, _| {
            let found =
                dialog.table.by_tags(call_id.as_bytes(), from_tag.as_bytes(), to_tag.as_bytes())?;
            dialog.table.get(found.dialog).map(|record| record.key)
        })
    }

    /// A variable of another call (`dlg_get_var`).
    pub fn variable_of(&self, key: Key, name: &str) -> Option<String> {
        self.with(|dialog, _, _| {
            let record = dialog.table.get(dialog.table.by_key(key)?)?;
            record.pairs.variable(name.as_bytes()).map(text)
        })
    }

    /// Sets a variable of another call (`dlg_set_var`).
    pub fn set_variable_of(&self, key: Key, name: &str, value: &str) -> bool {
        self.with(|dialog, host, _| match dialog.table.by_key(key) {
            Some(id) => dialog.set_variable(host, id, name.as_bytes(), value.as_bytes()),
            None => false,
        })
    }

    /// Another call's lifetime (`dlg_set_timeout` with an id).
    pub fn timeout_of(&self, key: Key, lifetime: Duration) -> bool {
        let seconds = u32::try_from(lifetime.as_secs()).unwrap_or(u32::MAX).max(1);
        self.with(|dialog, host, _| match dialog.table.by_key(key) {
            Some(id) => dialog.set_lifetime(host, id, seconds),
            None => false,
        })
    }

    /// REFER within another call (`dlg_refer_did`, and `dlg_refer_cid` with [`DialogOf::of_call`]).
    pub fn refer_of(&self, key: Key, side: Side, target: &str) -> bool {
        self.with(|dialog, host, _| match dialog.table.by_key(key) {
            Some(id) => dialog.refer(host, id, side, target),
            None => false,
        })
    }
}

/// The header lines of a request within a dialog; `None` when it is none that may be sent so.
fn lines_of(method: &str, headers: &str, body: Option<(&str, &[u8])>) -> Option<Vec<u8>> {
    let headers = super::settings::header_lines(headers).ok()?;
    let is_method = !method.is_empty() && method.bytes().all(|byte| byte.is_ascii_uppercase());
    let outside = matches!(method, "ACK" | "CANCEL" | "INVITE" | "BYE");
    let splits = body.is_some_and(|(kind, _)| kind.contains(['\r', '\n', '\0']));
    (is_method && !outside && !splits).then_some(headers)
}
