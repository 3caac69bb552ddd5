//! Someone who talks to the node: a user agent with its calls and dialogs.
//!
//! For: remembering what a party sent and read, as far as its next message depends on it.
//! Not here: writing messages (`compose.rs`).
//! Invariants: dialog state follows RFC 3261 §12 from the messages alone; a party that sends
//! something else says so in the script.

use super::script::{Endpoint, PartyAddress};
use super::text::{Text, uri_of};
use crate::actions::Origin;
use crate::time::Instant;
use std::collections::VecDeque;

/// A message that waits to be read.
#[derive(Debug)]
pub(super) struct Arrival {
    pub(super) at: Instant,
    pub(super) from: Endpoint,
    pub(super) text: Text,
    /// Who wants to know when it does not arrive.
    pub(super) origin: Origin,
}

/// A message that was sent, as it may be sent again.
#[derive(Clone, Debug)]
pub(super) struct Departed {
    pub(super) from: Endpoint,
    pub(super) to: Endpoint,
    pub(super) bytes: Vec<u8>,
}

/// A party.
#[derive(Debug)]
pub(super) struct Party {
    pub(super) name: String,
    pub(super) inside: Endpoint,
    pub(super) outside: Endpoint,
    pub(super) queue: VecDeque<Arrival>,
    pub(super) sent: Vec<Departed>,
    pub(super) calls: Vec<Call>,
    /// The call of the message that was sent or read last.
    pub(super) current: usize,
    pub(super) branches: u32,
}

/// What a party knows of one Call-ID.
#[derive(Debug)]
pub(super) struct Call {
    pub(super) call_id: String,
    /// The party's own tag in it.
    pub(super) tag: String,
    /// The number of the last request that it sent.
    pub(super) cseq: u32,
    /// Requests that it sent, and where to.
    pub(super) asked: Vec<(Text, Endpoint)>,
    /// Responses that it read.
    pub(super) answers: Vec<Text>,
    /// Requests that it read, and from where.
    pub(super) heard: Vec<(Text, Endpoint)>,
    pub(super) dialogs: Vec<Dialog>,
}

/// A dialog (RFC 3261 §12), the one that changed last at the end of its call's list.
#[derive(Clone, Debug)]
pub(super) struct Dialog {
    /// What goes into From, and into To.
    pub(super) local: String,
    pub(super) remote: String,
    pub(super) remote_tag: String,
    pub(super) target: String,
    pub(super) routes: Vec<String>,
    confirmed: bool,
}

/// Whether a request of this method creates a dialog.
pub(super) fn creates_dialog(method: &str) -> bool {
    matches!(method, "INVITE" | "SUBSCRIBE" | "REFER")
}

impl Party {
    pub(super) fn new(address: &PartyAddress) -> Party {
        Party {
            name: address.name.clone(),
            inside: address.inside,
            outside: address.outside,
            queue: VecDeque::new(),
            sent: Vec::new(),
            calls: Vec::new(),
            current: 0,
            branches: 0,
        }
    }

    /// The user part of its URIs, and the beginning of its tags and branches.
    pub(super) fn user(&self) -> String {
        self.name.to_ascii_lowercase()
    }

    /// The call of this Call-ID, which becomes the current one; a new one if there is none.
    pub(super) fn call(&mut self, call_id: &str) -> &mut Call {
        let place = self.calls.iter().position(|call| call.call_id == call_id);
        self.current = place.unwrap_or(self.calls.len());
        if place.is_none() {
            self.calls.push(Call {
                call_id: call_id.to_owned(),
                tag: format!("{}-{}", self.user(), self.calls.len() + 1),
                cseq: 0,
                asked: Vec::new(),
                answers: Vec::new(),
                heard: Vec::new(),
                dialogs: Vec::new(),
            });
        }
        &mut self.calls[self.current]
    }

    /// A value that scripts may use: `tag`, `call`, `cseq`, `branch`.
    pub(super) fn value(&self, name: &str) -> Option<String> {
        let call = self.calls.get(self.current)?;
        match name {
            "tag" => Some(call.tag.clone()),
            "call" => Some(call.call_id.clone()),
            "cseq" => Some(call.cseq.to_string()),
            "branch" => Some(self.branch()),
            _ => None,
        }
    }

    /// The branch of the last request that it made up itself.
    pub(super) fn branch(&self) -> String {
        format!("z9hG4bK-{}-{}", self.user(), self.branches)
    }

    /// Takes a message in, once the script has read it.
    pub(super) fn read(&mut self, text: &Text, from: Endpoint) {
        let call_id = text.get("Call-ID").unwrap_or_default().to_owned();
        let call = self.call(&call_id);
        match text.status() {
            None => call.hear(text, from),
            Some(status) => {
                call.answers.push(text.clone());
                if (101..300).contains(&status) && creates_dialog(text.method()) {
                    call.established(text, status >= 200);
                }
            }
        }
    }
}

impl Call {
    fn hear(&mut self, request: &Text, from: Endpoint) {
        self.heard.push((request.clone(), from));
        let tag = request.param("From", "tag").unwrap_or_default();
        let refreshes = matches!(request.method(), "INVITE" | "UPDATE" | "SUBSCRIBE" | "NOTIFY");
        if refreshes
            && request.param("To", "tag").is_some()
            && let Some(contact) = request.get("Contact")
            && let Some(dialog) = self.dialogs.iter_mut().find(|dialog| dialog.remote_tag == tag)
        {
            dialog.target = uri_of(contact).to_owned();
        }
    }

    /// §12.1.2: what the caller learns from a response.
    fn established(&mut self, response: &Text, confirmed: bool) {
        let Some(remote_tag) = response.param("To", "tag") else { return };
        let target = response.get("Contact").map(|contact| uri_of(contact).to_owned());
        let known = self.dialogs.iter().position(|dialog| dialog.remote_tag == remote_tag);
        let before = known.map(|place| self.dialogs.remove(place));
        let dialog = match before {
            // A re-INVITE refreshes the target and nothing else (§12.2.1.2).
            Some(before) if before.confirmed => {
                Dialog { target: target.unwrap_or_else(|| before.target.clone()), ..before }
            }
            before => {
                let mut routes = response.list("Record-Route");
                routes.reverse();
                let known = before.map(|before| before.target);
                Dialog {
                    local: response.get("From").unwrap_or_default().to_owned(),
                    remote: response.get("To").unwrap_or_default().to_owned(),
                    remote_tag,
                    target: target.or(known).unwrap_or_default(),
                    routes,
                    confirmed,
                }
            }
        };
        self.dialogs.push(dialog);
    }

    /// §12.1.1: what the callee learns from the request that it answers.
    pub(super) fn accept(&mut self, request: &Text, response: &Text) {
        let remote_tag = request.param("From", "tag").unwrap_or_default();
        let local = response.get("To").unwrap_or_default().to_owned();
        let known = |dialog: &Dialog| dialog.remote_tag == remote_tag && dialog.local == local;
        if self.dialogs.iter().any(known) {
            return;
        }
        self.dialogs.push(Dialog {
            remote: request.get("From").unwrap_or_default().to_owned(),
            target: request.get("Contact").map(uri_of).unwrap_or_default().to_owned(),
            routes: request.list("Record-Route"),
            local,
            remote_tag,
            confirmed: true,
        });
    }
}
