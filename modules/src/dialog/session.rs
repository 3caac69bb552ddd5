//! Session timers, RFC 4028, as a proxy sees them.
//!
//! For: noticing until when a session must be refreshed, asking for a session timer where nobody
//! does, ending what was not refreshed.
//! Not here: refreshing by itself: that would need a body.

use super::Dialog;
use super::settings::SessionTimer;
use super::table::DialogId;
use strowger_sip::message::{Edits, HeaderName, Message, MethodKind};
use strowger_sip::module::{Departing, Host};
use strowger_sip::time::{Duration, secs};

/// Less is refused by everybody (RFC 4028 §4).
const SESSION_MIN: u32 = 90;

/// The interval in Session-Expires.
fn interval(message: Message<'_>) -> Option<Duration> {
    let value = message.header(HeaderName::SessionExpires)?.value;
    let digits = value.split(|byte| *byte == b';').next()?.trim_ascii();
    let seconds = str::from_utf8(digits).ok()?.parse::<u32>().ok()?;
    Some(secs(u64::from(seconds.max(SESSION_MIN))))
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
        let Some(record) = self.table.get_mut(id) else { return };
        if !record.state.is_active() {
            return;
        }
        // Without the header in a 2xx the session has no timer (RFC 4028 §7.2).
        record.session = response.message.and_then(interval).map(|span| now + span);
        self.rearm(host, id);
    }

    pub(super) fn enforces_sessions(&self) -> bool {
        match self.settings.session_timer {
            SessionTimer::Off | SessionTimer::Observe => false,
            SessionTimer::Enforce | SessionTimer::Insert => true,
        }
    }

    /// §8.1: a proxy may insert the header into a request that has none.
    pub(super) fn insert_session(&self, message: Message<'_>, edits: &mut Edits) {
        let method = message.method().map(|method| method.kind());
        let asks = matches!(method, Some(MethodKind::Invite | MethodKind::Update));
        let has = message.header(HeaderName::SessionExpires).is_some();
        if self.settings.session_timer == SessionTimer::Insert && asks && !has {
            let seconds = self.settings.session_expires.as_secs().to_string();
            // A header too many for the message is left out.
            let _ = edits.append(b"Session-Expires", seconds.as_bytes());
        }
    }
}
