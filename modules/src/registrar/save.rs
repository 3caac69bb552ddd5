//! `save`: a REGISTER from the request to its answer.
//!
//! For: RFC 3261 §10.3 as one awaited call of a routing.
//! Not here: reading (`read.rs`), deciding (`location/change.rs`), the 200 (`reply.rs`).
//! Invariants: nobody's bindings change without proof of who asks: an [`Authenticated`] user of
//! that address, or a routing that says in so many words that it trusts the request.

use super::Registrar;
use super::fault::{NotSaved, SaveFault};
use super::read::Registration;
use super::settings::Settings;
use crate::auth::Authenticated;
use crate::location::{Answer as Located, Aor, Contact, Locating, Location, Operation, Refusal};
use std::rc::Rc;
use strowger_sip::message::{EditError, Message, MethodKind, Uri};
use strowger_sip::module::Has;
use strowger_sip::routing::{Answer, ListOf, Reply, Request, Routing};
use strowger_sip::transport::ListenerId;

/// On whose behalf a REGISTER is carried out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Registrant {
    /// A user who has proved to be one; may change the address of the same name.
    User(Authenticated),
    /// A user who may change any address: a trunk, an operator's console.
    AnyAddressOf(Authenticated),
    /// Nobody in particular; see [`Trusted`].
    Trusted(Trusted),
}

/// The routing's word that a request may pass without credentials: it came over a private link, or
/// its source was checked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Trusted;

impl From<Authenticated> for Registrant {
    fn from(user: Authenticated) -> Registrant {
        Registrant::User(user)
    }
}

impl From<Trusted> for Registrant {
    fn from(trusted: Trusted) -> Registrant {
        Registrant::Trusted(trusted)
    }
}

/// What a routing may want otherwise for one REGISTER.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SaveOptions {
    pub(super) memory_only: bool,
    pub(super) one_contact: bool,
    pub(super) contacts_max: Option<usize>,
    pub(super) aor: Option<String>,
    pub(super) behind_nat: bool,
    pub(super) received: Option<String>,
    pub(super) flags: u32,
    pub(super) cflags: u32,
    pub(super) quiet: bool,
    pub(super) presence: bool,
    pub(super) exact_expires: bool,
    pub(super) socket_from_header: bool,
}

impl SaveOptions {
    /// Keep it out of storage (flag 1).
    #[must_use]
    pub fn memory_only(mut self) -> SaveOptions {
        self.memory_only = true;
        self
    }

    /// The request's contact replaces all others (flag 4).
    #[must_use]
    pub fn one_contact(mut self) -> SaveOptions {
        self.one_contact = true;
        self
    }

    /// Lifetimes are granted as they are, whatever `expires_range` and `default_expires_range` say
    /// (flag 8).
    #[must_use]
    pub fn exact_expires(mut self) -> SaveOptions {
        self.exact_expires = true;
        self
    }

    /// The agent is reached by the listener that the header `sock_hdr_name` names, where that is
    /// one of this node (`sock_flag`): the REGISTER came by way of a node that shares addresses
    /// with this one. To be set for requests from such a node alone.
    #[must_use]
    pub fn socket_from_header(mut self) -> SaveOptions {
        self.socket_from_header = true;
        self
    }

    /// Another `max_contacts`; 0 for none.
    #[must_use]
    pub fn max_contacts(mut self, most: usize) -> SaveOptions {
        self.contacts_max = Some(most);
        self
    }

    /// The address-of-record, instead of the URI of To.
    #[must_use]
    pub fn aor(mut self, uri: &str) -> SaveOptions {
        self.aor = Some(uri.to_owned());
        self
    }

    /// The agent sits behind a NAT: it is reached where the request came from, and kept alive
    /// (`fix_nated_register`).
    #[must_use]
    pub fn behind_nat(mut self) -> SaveOptions {
        self.behind_nat = true;
        self
    }

    /// The agent is reached by this URI (`received_avp`).
    #[must_use]
    pub fn received(mut self, uri: &str) -> SaveOptions {
        self.received = Some(uri.to_owned());
        self
    }

    /// Flags of the message and of branches to the contact.
    #[must_use]
    pub fn flags(mut self, flags: u32, cflags: u32) -> SaveOptions {
        (self.flags, self.cflags) = (flags, cflags);
        self
    }

    /// Publish the user's presence (`pua_set_publish`), as `[pua_usrloc]` says.
    #[must_use]
    pub fn presence(mut self) -> SaveOptions {
        self.presence = true;
        self
    }

    /// Do not publish this change (`reginfo_disable_publish`).
    #[must_use]
    pub fn unpublished(mut self) -> SaveOptions {
        self.quiet = true;
        self
    }
}

/// What a REGISTER has done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SaveKind {
    /// 1: a new contact.
    Added,
    /// 2: contacts were refreshed, or nothing new was said.
    Updated,
    /// 3: contacts were removed.
    Removed,
    /// 4: nothing; it asked which there are.
    Queried,
}

/// A REGISTER that was carried out.
#[derive(Clone, Debug)]
pub struct Saved {
    /// What it has done.
    pub kind: SaveKind,
    /// The address.
    pub aor: Aor,
    /// Its contacts now.
    pub bindings: Vec<Contact>,
    /// The 200; a routing may add to it.
    pub reply: Reply,
}

impl From<Saved> for Answer {
    fn from(saved: Saved) -> Answer {
        Answer::Reply(saved.reply)
    }
}

/// REGISTER, on requests.
pub trait Saving<N, L> {
    /// Carries a REGISTER out; the answer is the 200 or why there is none.
    fn save(&self, who: impl Into<Registrant>) -> impl Future<Output = Result<Saved, NotSaved>>;

    /// The same with options.
    fn save_with(
        &self,
        who: impl Into<Registrant>,
        options: &SaveOptions,
    ) -> impl Future<Output = Result<Saved, NotSaved>>;

    /// Tells the next hop which socket this request was received by, in a header of this name.
    ///
    /// # Errors
    /// When the edit is refused.
    fn add_sock_hdr(&mut self, name: &str) -> Result<(), EditError>;
}

impl<R: Routing, N, L> Saving<N, L> for Request<'_, R>
where
    ListOf<R>: Has<Registrar, N> + Has<Location, L>,
{
    async fn save(&self, who: impl Into<Registrant>) -> Result<Saved, NotSaved> {
        self.save_with(who, &SaveOptions::default()).await
    }

    async fn save_with(
        &self,
        who: impl Into<Registrant>,
        options: &SaveOptions,
    ) -> Result<Saved, NotSaved> {
        let settings =
            self.module(|registrar: &mut Registrar, _, _| Rc::clone(&registrar.settings));
        let retry_after_seconds = settings.retry_after;
        let saved = carry_out(self, &who.into(), options, &settings).await;
        self.module(|registrar: &mut Registrar, _, _| registrar.count(saved.is_ok()));
        saved.map_err(|cause| NotSaved { cause, retry_after_seconds })
    }

    fn add_sock_hdr(&mut self, name: &str) -> Result<(), EditError> {
        let id = self.source().listener;
        let socket = self.module(|_: &mut Registrar, host, _| {
            let listeners = strowger_sip::module::Host::listeners(host);
            crate::location::socket_text(listeners, id)
        });
        self.append_header(name, &socket)
    }
}

async fn carry_out<R: Routing, N, L>(
    request: &Request<'_, R>,
    who: &Registrant,
    options: &SaveOptions,
    settings: &Settings,
) -> Result<Saved, SaveFault>
where
    ListOf<R>: Has<Registrar, N> + Has<Location, L>,
{
    let message = request.message();
    if request.method() != MethodKind::Register {
        return Err(SaveFault::Malformed("not a REGISTER"));
    }
    let to = match &options.aor {
        Some(uri) => Uri::parse(uri.as_bytes()),
        None => message.to().and_then(|to| to.uri()),
    };
    let to = to.map_err(|_| SaveFault::Malformed("To"))?;
    authorize(request, message, &to, who)?;
    let (use_domain, nat_flag, today) = request.module(|location: &mut Location, host, _| {
        let settings = location.settings();
        let flag = settings.nat_bflag.map_or(0, |bit| 1 << bit);
        (settings.use_domain, flag, location.today(host))
    });
    let flow = request.source();
    let socket = if options.socket_from_header { socket_of(request, message) } else { None };
    let read = request.module(|registrar: &mut Registrar, host, _| {
        let entropy = strowger_sip::module::Host::entropy(host);
        let mut reading = super::read::Reading {
            settings: &registrar.settings,
            rules: &registrar.settings.rules(use_domain),
            options,
            entropy,
            today,
            flow,
            socket,
            nat_flag,
        };
        reading.registration(message, &to)
    });
    let Registration { change, echo } = read?;
    let aor = change.aor.clone();
    let queried = matches!(change.wish, crate::location::Wish::Query);
    let done = match request.locate(Operation::Change(change)).await {
        Located::Changed(done) => done,
        Located::Refused(refusal) => return Err(SaveFault::Refused(refusal)),
        Located::Found(_) => return Err(SaveFault::Refused(Refusal::Unavailable)),
    };
    if settings.tcp_persistent_flag.is_some_and(|bit| options.flags & (1 << bit) != 0) {
        keep_connection(request, &done.bindings);
    }
    let kind = match (queried, done.added, done.updated, done.removed) {
        (true, _, _, _) => SaveKind::Queried,
        (false, 1.., _, _) => SaveKind::Added,
        (false, 0, 0, 1..) => SaveKind::Removed,
        (false, 0, _, _) => SaveKind::Updated,
    };
    let reply = request.module(|registrar: &mut Registrar, host, _| {
        let mut writing = super::reply::Writing {
            settings: &registrar.settings,
            gruu: &registrar.gruu,
            entropy: strowger_sip::module::Host::entropy(host),
            today,
        };
        writing.ok(&aor, &to, &done.bindings, &echo)
    });
    Ok(Saved { kind, aor, bindings: done.bindings, reply })
}

/// The connection of a request stays while contacts over it last.
fn keep_connection<R: Routing, L>(request: &Request<'_, R>, bindings: &[Contact])
where
    ListOf<R>: Has<Location, L>,
{
    if let Some(connection) = request.source().connection {
        request.module(|location: &mut Location, host, _| {
            location.keep_connection(host, connection, bindings);
        });
    }
}

/// The listener that a header names as `udp:192.0.2.1:5060`, if it is one of this node.
fn socket_of<R: Routing, N>(request: &Request<'_, R>, message: Message<'_>) -> Option<ListenerId>
where
    ListOf<R>: Has<Registrar, N>,
{
    request.module(|registrar: &mut Registrar, host, _| {
        let name = registrar.settings.sock_hdr_name.as_bytes();
        let value = message.header_named(name).filter(|_| !name.is_empty())?.value;
        let value = std::str::from_utf8(value).ok()?.trim();
        crate::location::listener_of(strowger_sip::module::Host::listeners(host), value)
    })
}

/// RFC 3261 §10.3 steps 4 and 5.
fn authorize<R: Routing>(
    request: &Request<'_, R>,
    message: Message<'_>,
    to: &Uri<'_>,
    who: &Registrant,
) -> Result<(), SaveFault> {
    match who {
        Registrant::User(user) if !user.is_user_of(to) => return Err(SaveFault::Forbidden),
        Registrant::User(_) | Registrant::AnyAddressOf(_) | Registrant::Trusted(_) => {}
    }
    let domain = message.uri().map_err(|_| SaveFault::Malformed("Request-URI"))?;
    if to.host == domain.host || request.is_ours(to) {
        Ok(())
    } else {
        Err(SaveFault::UnknownAddress)
    }
}
