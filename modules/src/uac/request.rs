//! What a routing asks of this module about a request.
//!
//! For: Kamailio's `uac_*` functions as methods, each where it is legal: an answer to a challenge
//! needs a [`Failed`], which only a failure gives.
//! Not here: registrations (`reg/request.rs`), requests of a routing's own (`send.rs`).

use super::address::{self, Change};
use super::answer::NotAuthorized;
use super::cookie::Header;
use super::rewrite::{Replacement, Restored};
use super::secret::{Credential, Secret, is_quotable};
use super::settings::RestoreMode;
use super::{Counters, Uac};
use crate::dialog::{Dialog, DialogRequest};
use std::marker::PhantomData;
use strowger_sip::module::host::HostAt;
use strowger_sip::module::{Has, Host};
use strowger_sip::routing::{
    Destination, Failed, ListOf, Outcome, Reply, Request, RequestIds, Routing,
};

/// Gives a request its `uac()`.
pub trait UacRequest<'a, R: Routing, N> {
    /// What this node does as a client, for this request.
    ///
    /// ```text
    /// request.uac().replace_from("\"Main\"", "sip:+4930123456@trunk.example.net")?;
    /// match request.relay_by("sip:192.0.2.20").await {
    ///     Outcome::Failed(failed) if failed.is_challenge() => match request.uac().auth(&failed) {
    ///         Ok(()) => Ok(request.relay_by("sip:192.0.2.20").into()),
    ///         Err(_) => Ok(failed.into()),
    ///     },
    ///     outcome => Ok(outcome.into()),
    /// }
    /// ```
    fn uac(&mut self) -> UacOf<'_, 'a, R, N>;
}

impl<'a, R: Routing, N> UacRequest<'a, R, N> for Request<'a, R>
where
    ListOf<R>: Has<Uac, N>,
{
    fn uac(&mut self) -> UacOf<'_, 'a, R, N> {
        UacOf { request: self, branch: None, place: PhantomData }
    }
}

/// Why a header is not replaced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NotReplaced {
    /// The request has no transaction: an ACK shows what its INVITE showed.
    NoTransaction,
    /// In mode `auto` the URIs of a dialog are those of its first request.
    WithinDialog,
    /// The name or the URI would not stand in the header as it is.
    Unusable,
    /// The dialog has no room to remember it.
    NoRoom,
}

impl From<NotReplaced> for Reply {
    /// A fault of the routing: 500.
    fn from(_: NotReplaced) -> Reply {
        Reply::server_error()
    }
}

/// One request, and what this node does for it as a client.
#[doc = include_str!("functions.md")]
#[must_use]
pub struct UacOf<'q, 'a, R: Routing, N> {
    pub(super) request: &'q mut Request<'a, R>,
    branch: Option<Vec<u8>>,
    pub(super) place: PhantomData<N>,
}

pub(super) type HostOf<'h, R, N> = HostAt<'h, ListOf<R>, Uac, N>;

impl<'q, 'a, R: Routing, N> UacOf<'q, 'a, R, N>
where
    ListOf<R>: Has<Uac, N>,
{
    pub(super) fn with<T>(
        &self,
        work: impl FnOnce(&mut Uac, &mut HostOf<'_, R, N>, &RequestIds) -> T,
    ) -> T {
        self.request.module(work)
    }

    /// What is replaced from here on is so on the branch with this Request-URI alone.
    pub fn on_branch(mut self, request_uri: impl AsRef<[u8]>) -> Self {
        self.branch = Some(request_uri.as_ref().to_vec());
        self
    }

    /// Another display name and URI in From (`uac_replace_from`). The name stands as it is written
    /// here, with its quotes; an empty one removes the name, an empty URI leaves the URI. Of
    /// several calls the last one counts.
    ///
    /// # Errors
    /// Why it stays as it is.
    pub fn replace_from(&mut self, display: &str, uri: &str) -> Result<(), NotReplaced> {
        self.replace(Header::From, Some(display), uri, false)
    }

    /// Another URI in From; its display name stays.
    ///
    /// # Errors
    /// Why it stays as it is.
    pub fn replace_from_uri(&mut self, uri: &str) -> Result<(), NotReplaced> {
        self.replace(Header::From, None, uri, false)
    }

    /// Another display name and URI in To (`uac_replace_to`).
    ///
    /// # Errors
    /// Why it stays as it is.
    pub fn replace_to(&mut self, display: &str, uri: &str) -> Result<(), NotReplaced> {
        self.replace(Header::To, Some(display), uri, false)
    }

    /// Another URI in To; its display name stays.
    ///
    /// # Errors
    /// Why it stays as it is.
    pub fn replace_to_uri(&mut self, uri: &str) -> Result<(), NotReplaced> {
        self.replace(Header::To, None, uri, false)
    }

    pub(super) fn replace(
        &mut self,
        header: Header,
        display: Option<&str>,
        uri: &str,
        by_dialog: bool,
    ) -> Result<(), NotReplaced> {
        let message = self.request.message();
        let uri = (!uri.is_empty()).then_some(uri);
        let address = header.of(message).ok_or(NotReplaced::Unusable)?;
        let change = Change { display: display.map(str::as_bytes), uri: uri.map(str::as_bytes) };
        address::changed(address.raw, change).ok_or(NotReplaced::Unusable)?;
        let (sequential, branch) = (message.to_tag().is_some(), self.branch.clone());
        let variable = self.with(|uac, host, ids| {
            if uac.settings.restore == RestoreMode::Auto && sequential && uri.is_some() {
                return Err(NotReplaced::WithinDialog);
            }
            let attached = ids.transaction.and_then(|id| host.attached(id));
            let rewriting = attached.ok_or(NotReplaced::NoTransaction)?.rewriting();
            rewriting.show_as_received(header, message);
            let text = |text: &str| text.as_bytes().to_vec();
            rewriting.replacements.retain(|old| old.header != header || old.branch != branch);
            let (display, uri) = (display.map(text), uri.map(text));
            rewriting.replacements.push(Replacement { header, branch, display, uri, by_dialog });
            uac.counters.replaced += 1;
            Ok(uac.settings.original_variables.get(header.place()).cloned().flatten())
        })?;
        self.note_original(header, variable);
        Ok(())
    }

    /// `restore_from_avp` and `restore_to_avp`: the address as it was, without its parameters.
    fn note_original(&mut self, header: Header, variable: Option<String>) {
        let Some(name) = variable else { return };
        let original = self.original(header).unwrap_or_default();
        self.request.set(&name, &original);
    }

    fn original(&self, header: Header) -> Option<String> {
        let address = header.of(self.request.message())?;
        let raw = address::with_params_of(address.raw, b"<sip:x>")?;
        Some(String::from_utf8_lossy(&raw).into_owned())
    }

    /// Name and URI of From as they were received, without parameters.
    pub fn original_from(&self) -> Option<String> {
        self.original(Header::From)
    }

    /// Name and URI of To as they were received, without parameters.
    pub fn original_to(&self) -> Option<String> {
        self.original(Header::To)
    }

    /// Responses show this in From instead of what the request said: `restore_from_avp`, written.
    pub fn answers_show_from(&mut self, address: &str) -> Result<(), NotReplaced> {
        self.answers_show(Header::From, address)
    }

    /// Responses show this in To instead of what the request said.
    ///
    /// # Errors
    /// When it is no address, or the request has no transaction.
    pub fn answers_show_to(&mut self, address: &str) -> Result<(), NotReplaced> {
        self.answers_show(Header::To, address)
    }

    fn answers_show(&mut self, header: Header, address: &str) -> Result<(), NotReplaced> {
        let read = address::changed(address.as_bytes(), Change::default());
        let address = read.ok_or(NotReplaced::Unusable)?;
        self.with(|_, host, ids| {
            let attached = ids.transaction.and_then(|id| host.attached(id));
            let rewriting = attached.ok_or(NotReplaced::NoTransaction)?.rewriting();
            if let Some(place) = rewriting.shown.get_mut(header.place()) {
                *place = Some(address);
            }
            Ok(())
        })
    }

    /// Puts back, in a request within a dialog, what was replaced in From of the dialog's first
    /// request (`uac_restore_from`); in mode `auto` that is done without asking. `false` when
    /// nothing tells what it was.
    pub fn restore_from(&mut self) -> bool {
        self.restore(Header::From)
    }

    /// The same for what was replaced in To (`uac_restore_to`).
    pub fn restore_to(&mut self) -> bool {
        self.restore(Header::To)
    }

    fn restore(&mut self, replaced: Header) -> bool {
        let message = self.request.message();
        let restored = self.with(|uac, host, _| {
            let own = uac.settings.own_entry(message, |uri| host.is_ours(uri))?;
            uac.restored(message, replaced, &own)
        });
        restored.is_some_and(|restored| self.apply(&restored))
    }

    /// Writes a restored header on every branch; responses show it as it was received.
    pub(super) fn apply(&mut self, restored: &Restored) -> bool {
        let header = restored.header;
        let message = self.request.message();
        let variable = self.with(|uac, host, ids| {
            if let Some(attached) = ids.transaction.and_then(|id| host.attached(id)) {
                attached.rewriting().show_as_received(header, message);
            }
            uac.settings.original_variables.get(header.place()).cloned().flatten()
        });
        self.note_original(header, variable);
        self.request.edit(|edits| edits.replace(header.name(), 0, &restored.value)).is_ok()
    }

    /// A credential for this request alone; it comes before all others. `false` when the user
    /// cannot stand in a digest header.
    pub fn credential(&mut self, realm: &str, user: &str, secret: Secret) -> bool {
        if !is_quotable(user) || secret.is_empty() {
            return false;
        }
        let credential = Credential { user: user.to_owned(), realm: realm.to_owned(), secret };
        self.with(|_, host, ids| {
            let attached = ids.transaction.and_then(|id| host.attached(id));
            attached.is_some_and(|attached| {
                attached.call().credential = Some(credential);
                true
            })
        })
    }

    /// Answers the challenge of a failure (`uac_auth`): the next branch to the same peer carries
    /// credentials, and a CSeq number that is one greater. Responses have the caller's number, and
    /// the caller's later requests are shifted by as much.
    ///
    /// # Errors
    /// Why there is no answer; the failure can be passed on then.
    pub fn auth(&mut self, failed: &Failed) -> Result<(), NotAuthorized> {
        let credential = self.credential_of_variables();
        self.with(|uac, host, ids| {
            let transaction = ids.transaction.ok_or(NotAuthorized::Over)?;
            uac.answer(host, transaction, failed, credential)
        })
    }

    /// The same in a call that the dialog module tracks: the number is raised there, so that later
    /// challenges within the dialog can be answered too.
    ///
    /// # Errors
    /// Why there is no answer.
    pub fn auth_in_dialog<D>(&mut self, failed: &Failed) -> Result<(), NotAuthorized>
    where
        ListOf<R>: Has<Dialog, D>,
    {
        self.auth(failed)?;
        let raises = self.with(|uac, _, _| uac.settings.raise_cseq);
        let raised = raises.then(|| DialogRequest::<R, D>::dialog(self.request).raise_cseq());
        if raised.flatten().is_some() {
            self.with(|_, host, ids| {
                if let Some(transaction) = ids.transaction {
                    Uac::leave_numbers(host, transaction);
                }
            });
        }
        Ok(())
    }

    /// `auth_realm_avp`, `auth_username_avp`, `auth_password_avp`: what the routing has set.
    fn credential_of_variables(&self) -> Option<Credential> {
        let names = self.with(|uac, _, _| uac.settings.auth_variables.clone())?;
        let [realm, user, password] = names.map(|name| self.request.get(&name));
        let (user, password) = (user?, password?);
        if user.is_empty() || !is_quotable(&user) || password.is_empty() {
            return None;
        }
        let secret = Secret::password(&password);
        Some(Credential { user, realm: realm.unwrap_or_default(), secret })
    }

    /// Sends the request there, and again with credentials as long as challenges can be answered.
    pub async fn relay(self, destination: &Destination<'_>) -> Outcome {
        let UacOf { request, .. } = self;
        loop {
            let outcome = request.fork().to_destination(destination).await;
            match &outcome {
                Outcome::Failed(failed) if failed.is_challenge() => {
                    if request.uac().auth(failed).is_err() {
                        return outcome;
                    }
                }
                Outcome::Answered(_) | Outcome::Failed(_) => return outcome,
            }
        }
    }

    /// The same in a call that the dialog module tracks.
    pub async fn relay_in_dialog<D>(self, destination: &Destination<'_>) -> Outcome
    where
        ListOf<R>: Has<Dialog, D>,
    {
        let UacOf { request, .. } = self;
        loop {
            let outcome = request.fork().to_destination(destination).await;
            match &outcome {
                Outcome::Failed(failed) if failed.is_challenge() => {
                    if request.uac().auth_in_dialog(failed).is_err() {
                        return outcome;
                    }
                }
                Outcome::Answered(_) | Outcome::Failed(_) => return outcome,
            }
        }
    }

    /// This shard's counters.
    pub fn counters(&self) -> Counters {
        self.with(|uac, _, _| uac.counters())
    }
}
