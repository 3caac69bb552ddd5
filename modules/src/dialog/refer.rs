//! REFER within a dialog: `dlg_refer`.
//!
//! For: asking one party to call somewhere else, and hearing how far it has come.
//! Not here: writing requests of a dialog (`local.rs`), calls that this node sets up (`bridge.rs`).
//! Invariants: the dialog itself goes on; it ends when its parties say so, or by its lifetime.

use super::end::status_of;
use super::local::{Local, Sent};
use super::record::Side;
use super::table::DialogId;
use super::{Dialog, DialogEventKind, Token};
use strowger_sip::message::{HeaderName, MethodKind, StatusCode};
use strowger_sip::module::{Arrived, Heard, Host};
use strowger_sip::routing::Reply;

impl Dialog {
    /// Asks the party opposite to `side` to call somewhere else, in the name of `side`.
    pub(super) fn refer(
        &mut self,
        host: &mut impl Host<Dialog>,
        id: DialogId,
        side: Side,
        target: &str,
    ) -> bool {
        let to = side.other();
        let Some(record) = self.table.get(id) else { return false };
        if !record.state.is_active() || !is_uri(target) {
            return false;
        }
        let number = record.number_above(to, 1);
        let headers = format!(
            "Referred-By: <{}>\r\nRefer-To: <{target}>\r\nContact: <{}>\r\n",
            self.settings.controller, self.settings.controller_contact
        );
        let local = Local { method: "REFER", number, headers: headers.as_bytes(), body: None };
        if self.send_local(host, id, to, &local, Token::Refer(id, to)) != Sent::Yes {
            self.counters.unsent += 1;
            return false;
        }
        self.overtake(id, side);
        if let Some(record) = self.table.get_mut(id) {
            record.holders = record.holders.saturating_add(1);
        }
        true
    }

    pub(super) fn refer_answered(
        &mut self,
        host: &mut impl Host<Dialog>,
        id: DialogId,
        to: Side,
        heard: Heard<'_>,
    ) {
        let status = status_of(heard);
        if status.is_provisional() {
            return;
        }
        if let Some(record) = self.table.get_mut(id) {
            record.holders = record.holders.saturating_sub(1);
        }
        self.tell(host, id, DialogEventKind::ReferProgress(status));
        if self.settings.refer_bye
            && let Some(record) = self.table.get(id)
            && record.state.is_active()
        {
            let number = record.number_above(to, 1);
            let local = Local { method: "BYE", number, headers: &[], body: None };
            // The dialog goes on: it ends when the parties say so, or by its lifetime.
            if self.send_local(host, id, to, &local, Token::Within(id)) == Sent::Yes {
                self.overtake(id, to.other());
                if let Some(record) = self.table.get_mut(id) {
                    record.holders = record.holders.saturating_add(1);
                }
            }
        }
        self.forget_if_free(host, id);
    }

    /// A NOTIFY about a REFER that was sent from here (RFC 3515 §2.4.4): answered, and told.
    pub(super) fn refer_progress(
        &mut self,
        host: &mut impl Host<Dialog>,
        request: &Arrived<'_>,
    ) -> bool {
        let message = request.incoming.message();
        let to_us = message.request_uri() == Some(self.settings.controller_contact.as_bytes());
        let about = message.header(HeaderName::Event).map_or(&[][..], |field| field.value);
        let is_notify = message.method().map(|method| method.kind()) == Some(MethodKind::Notify);
        let Some(transaction) = request.transaction else { return false };
        if !is_notify || !to_us || !about.starts_with(b"refer") {
            return false;
        }
        let call_id = message.call_id().unwrap_or(&[]);
        let (from, to) = (message.from_tag().unwrap_or(&[]), message.to_tag().unwrap_or(&[]));
        if let (Some(found), Some(status)) =
            (self.table.by_tags(call_id, from, to), fragment(message.body()))
        {
            self.tell(host, found.dialog, DialogEventKind::ReferProgress(status));
        }
        host.reply(transaction, Reply::new(200));
        true
    }
}

/// The status in a `message/sipfrag` (RFC 3420).
pub(super) fn fragment(body: &[u8]) -> Option<StatusCode> {
    let digits = body.strip_prefix(b"SIP/2.0 ")?.get(..3)?;
    StatusCode::new(str::from_utf8(digits).ok()?.parse().ok()?)
}

/// Whether a text can stand as a URI in a header.
pub(super) fn is_uri(text: &str) -> bool {
    strowger_sip::message::Uri::parse(text.as_bytes()).is_ok_and(|uri| uri.scheme.is_sip())
}
