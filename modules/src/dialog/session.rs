//! Session timers, RFC 4028, as a proxy sees them.
//!
//! For: noticing until when a session must be refreshed, asking for a session timer where nobody
//! does, ending what was not refreshed.
//! Not here: refreshing by itself: that would need a body.
//! Invariants: what is asked for is never less than the caller's Min-SE; a caller that does not
//! know of session timers hears nothing of them.

use super::Dialog;
use super::settings::SessionTimer;
use super::table::DialogId;
use strowger_sip::message::{Edits, HeaderName, Message, MethodKind};
use strowger_sip::module::{Departing, Host};

/// Less is refused by everybody (RFC 4028 §4).
const SESSION_MIN: u32 = 90;

/// Seconds at the beginning of a header's value.
fn seconds(value: &[u8]) -> Option<u32> {
    let digits = value.split(|byte| *byte == b';').next()?.trim_ascii();
    str::from_utf8(digits).ok()?.parse().ok()
}

/// The interval in Session-Expires.
fn interval(message: Message<'_>) -> Option<u32> {
    let value = message.header(HeaderName::SessionExpires)?.value;
    Some(seconds(value)?.max(SESSION_MIN))
}

fn is_refresh(message: Message<'_>) -> bool {
    let method = message.method().map(|method| method.kind());
    matches!(method, Some(MethodKind::Invite | MethodKind::Update))
}

impl Dialog {
    /// A response to INVITE or UPDATE says how long the session lasts from here.
    pub(super) fn note_session(
        &mut self,
        host: &mut impl Host<Dialog>,
        id: DialogId,
        response: &Departing<'_>,
    ) {
        if self.settings.session_timer == SessionTimer::Off || !response.status.is_success() {
            return;
        }
        let now = host.now();
        let said = response.message.and_then(interval).or_else(|| self.inserted(response));
        let Some(record) = self.table.get_mut(id) else { return };
        if !record.state.is_active() {
            return;
        }
        // Without the header in a 2xx the session has no timer (RFC 4028 §7.2).
        record.session = said.map(|span| now + super::reply::seconds(span));
        self.rearm(host, id);
    }

    pub(super) fn enforces_sessions(&self) -> bool {
        match self.settings.session_timer {
            SessionTimer::Off | SessionTimer::Observe => false,
            SessionTimer::Enforce | SessionTimer::Insert => true,
        }
    }

    /// What is asked for in a request that does not say so itself (§8.1): not less than its Min-SE.
    fn wanted(&self, request: Message<'_>) -> u32 {
        let own = u32::try_from(self.settings.session_expires.as_secs()).unwrap_or(u32::MAX);
        let least = request.header_named(b"Min-SE").and_then(|field| seconds(field.value));
        own.max(least.unwrap_or(SESSION_MIN))
    }

    /// §8.1: a proxy may insert the header into a request that has none.
    pub(super) fn insert_session(&self, message: Message<'_>, edits: &mut Edits) {
        let has = message.header(HeaderName::SessionExpires).is_some();
        if self.settings.session_timer == SessionTimer::Insert && is_refresh(message) && !has {
            let seconds = self.wanted(message).to_string();
            // A header too many for the message is left out.
            let _ = edits.append(b"Session-Expires", seconds.as_bytes());
        }
    }

    /// §8.2: the callee knows nothing of session timers and the caller does, so that it is told to
    /// refresh. The interval that stands for the callee's silence.
    fn inserted(&self, response: &Departing<'_>) -> Option<u32> {
        if self.settings.session_timer != SessionTimer::Insert || !response.status.is_success() {
            return None;
        }
        response.message.filter(|message| interval(*message).is_none())?;
        let request = response.request?.message();
        let knows = request.supported().any(|tag| tag.eq_ignore_ascii_case(b"timer"));
        let refreshes = knows && is_refresh(request);
        refreshes.then(|| interval(request).unwrap_or_else(|| self.wanted(request)))
    }

    /// Says so in the response, and in its copies, which come when the request is not kept any more.
    pub(super) fn complete_session(
        &self,
        host: &mut impl Host<Dialog>,
        response: &Departing<'_>,
        edits: &mut Edits,
    ) {
        let inserted = self.inserted(response);
        let Some(attached) = host.attached(response.transaction) else { return };
        let copied = response.request.is_none()
            && response.status.is_success()
            && response.message.is_some_and(|message| interval(message).is_none());
        attached.session = inserted.or(attached.session.filter(|_| copied));
        if let Some(seconds) = attached.session {
            let value = format!("{seconds};refresher=uac");
            // As above.
            let _ = edits.append(b"Session-Expires", value.as_bytes());
            let _ = edits.append(b"Require", b"timer");
        }
    }
}
