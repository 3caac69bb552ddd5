//! What a routing asks about registrations.
//!
//! For: `uac_reg_*` as methods: calls that come in by an account, calls that go out over one,
//! switching accounts on and off.
//! Not here: the accounts (`mod.rs`).

use super::super::request::UacOf;
use super::super::secret::Credential;
use super::super::{Row, Uac};
use super::{Attribute, Order, RegState, Registration};
use std::rc::Rc;
use strowger_sip::date::UnixTime;
use strowger_sip::message::Uri;
use strowger_sip::module::{Has, Host};
use strowger_sip::routing::{Destination, ListOf, Routing};

/// By what a record is named for a call over it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RequestBy {
    /// Its `l_uuid`.
    Uuid,
    /// Its local user; a URI where `reg_use_domain` is set.
    LocalUser,
}

/// How a call goes out over a registration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Trunk {
    /// The account's address, for the Request-URI of a call to it.
    pub uri: String,
    /// Where to send it.
    pub next_hop: String,
    /// Who calls, as the provider knows it: for From.
    pub identity: String,
    /// The way of later requests that the registrar has named (RFC 3608), as a line of Route
    /// values.
    pub service_route: Option<String>,
}

impl Trunk {
    /// Where a call to the account itself goes.
    pub fn destination(&self) -> Destination<'_> {
        let (uri, next_hop) = (self.uri.as_bytes(), Some(self.next_hop.as_bytes()));
        Destination { uri, path: None, next_hop, flow: None }
    }

    /// The URI of another user of the account's provider: a number to be called.
    pub fn user(&self, user: &str) -> Option<String> {
        let uri = Uri::parse(self.uri.as_bytes()).ok()?;
        Some(strowger_sip::message::UriBuilder::from(&uri).user(user).to_string())
    }

    /// Where a call to another URI goes over this account.
    pub fn to<'t>(&'t self, uri: &'t [u8]) -> Destination<'t> {
        Destination { uri, ..self.destination() }
    }
}

/// Why a URI leads to no record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NoRecord {
    /// -1: there is none.
    Unknown,
    /// -2: it is no URI.
    NoUri,
}

impl Uac {
    /// The record that a call came in by: by a full Request-URI's parameter `line` or its user, or
    /// by the `l_uuid` itself.
    pub(super) fn called(&self, target: &str) -> Option<&Rc<Registration>> {
        let records = &self.registrations;
        let by_id = |id: &[u8]| records.book.get(std::str::from_utf8(id).ok()?);
        let uri = Uri::parse(target.as_bytes()).ok();
        let by_uri = uri.and_then(|uri| {
            let by_line = uri.params.value(b"line").and_then(by_id);
            let user = uri.user?;
            by_line.or_else(|| by_id(user)).or_else(|| {
                // A provider may leave the parameter out; the user alone tells if one has it.
                let has = |entry: &&super::Entry| entry.config.contact_user.as_bytes() == user;
                let mut named = records.book.values().filter(has);
                let first = named.next().filter(|_| !user.is_empty())?;
                named.next().is_none().then_some(first)
            })
        });
        by_uri.or_else(|| records.book.get(target)).map(|entry| &entry.config)
    }

    /// The record of a local user, by its URI.
    pub(super) fn of_local(&self, uri: &str) -> Result<&super::Entry, NoRecord> {
        let uri = Uri::parse(uri.as_bytes()).map_err(|_| NoRecord::NoUri)?;
        let user = uri.user.and_then(|user| std::str::from_utf8(user).ok());
        let user = user.ok_or(NoRecord::Unknown)?;
        let host = uri.host.to_string();
        let records = &self.registrations;
        let mut of_user = records.users.get(user).into_iter().flatten();
        let fits = |uuid: &String| {
            let entry = records.book.get(uuid)?;
            let same = !self.settings.reg.use_domain || entry.config.l_domain == host;
            same.then_some(entry)
        };
        of_user.find_map(fits).ok_or(NoRecord::Unknown)
    }
}

impl<'q, 'a, R: Routing, N> UacOf<'q, 'a, R, N>
where
    ListOf<R>: Has<Uac, N>,
{
    /// The local user that a call to a registered contact is for (`uac_reg_lookup`):
    /// `sip:l_username@l_domain`. `target` is a Request-URI or an `l_uuid`.
    pub fn reg_lookup(&self, target: &str) -> Option<String> {
        self.with(|uac, _, _| uac.called(target).map(|record| record.local_uri()))
    }

    /// The `l_uuid` of a local user's record (`uac_reg_lookup_uri`).
    ///
    /// # Errors
    /// When there is none, or the text is no URI.
    pub fn reg_lookup_uri(&self, uri: &str) -> Result<String, NoRecord> {
        self.with(|uac, _, _| uac.of_local(uri).map(|entry| entry.config.l_uuid.clone()))
    }

    /// How a registration is (`uac_reg_status`); `None` when there is no such record.
    pub fn reg_status(&self, l_uuid: &str) -> Option<RegState> {
        self.with(|uac, host, _| {
            let today = UnixTime::from_secs(host.unix_time().as_secs());
            Some(uac.registrations.book.get(l_uuid)?.shown.at(today))
        })
    }

    /// Prepares a call over a registration (`uac_reg_request_to`): says where it goes, and keeps
    /// the record's credentials for [`UacOf::auth`].
    ///
    /// # Errors
    /// When there is no such record, or `user` is to be a URI and is none.
    pub fn reg_request_to(&mut self, user: &str, by: RequestBy) -> Result<Trunk, NoRecord> {
        self.reg_request(user, by, None)
    }

    /// The same, with the password alone (`false`) or with the hashes alone: bit 1 of Kamailio's
    /// mode.
    ///
    /// # Errors
    /// As above.
    pub fn reg_request_with(
        &mut self,
        user: &str,
        by: RequestBy,
        hashes: bool,
    ) -> Result<Trunk, NoRecord> {
        self.reg_request(user, by, Some(hashes))
    }

    fn reg_request(
        &mut self,
        user: &str,
        by: RequestBy,
        only: Option<bool>,
    ) -> Result<Trunk, NoRecord> {
        self.with(|uac, host, ids| {
            let records = &uac.registrations;
            let entry = match by {
                RequestBy::Uuid => records.book.get(user).ok_or(NoRecord::Unknown)?,
                RequestBy::LocalUser if uac.settings.reg.use_domain => uac.of_local(user)?,
                RequestBy::LocalUser => {
                    records.find(Attribute::LocalUser, user).ok_or(NoRecord::Unknown)?
                }
            };
            let config = &entry.config;
            let secret = match only {
                Some(hashes) => config.secret.only(hashes),
                None => config.secret.clone(),
            };
            let (user, realm) = (config.auth_username.clone(), config.realm.clone());
            let attached = ids.transaction.and_then(|id| host.attached(id));
            if let Some(attached) = attached {
                attached.call().credential = Some(Credential { user, realm, secret });
            }
            Ok(Trunk {
                uri: config.remote_uri(),
                next_hop: config.auth_proxy.clone(),
                identity: config.remote_uri(),
                service_route: entry.shown.service_route.as_deref().map(str::to_owned),
            })
        })
    }

    /// Takes a record in (`uac_reg_enable`); `false` when there is none.
    pub fn reg_enable(&mut self, attribute: Attribute, value: &str) -> bool {
        self.reg_order(attribute, value, Order::Enable)
    }

    /// Takes a record out (`uac_reg_disable`): it is unregistered, where `unregister_on_remove`
    /// says so.
    pub fn reg_disable(&mut self, attribute: Attribute, value: &str) -> bool {
        self.reg_order(attribute, value, Order::Disable)
    }

    /// Registers a record at once, whatever holds (`uac_reg_send_register`).
    pub fn reg_send_register(&mut self, attribute: Attribute, value: &str) -> bool {
        self.reg_order(attribute, value, Order::Register)
    }

    /// Unregisters a record at once, and leaves it so until it is registered or taken in again
    /// (`uac_reg_send_unregister`).
    pub fn reg_send_unregister(&mut self, attribute: Attribute, value: &str) -> bool {
        self.reg_order(attribute, value, Order::Unregister)
    }

    fn reg_order(&mut self, attribute: Attribute, value: &str, order: Order) -> bool {
        self.with(|uac, host, _| {
            let found = uac.registrations.find(attribute, value);
            let Some(uuid) = found.map(|entry| entry.config.l_uuid.clone()) else { return false };
            uac.order_owner(host, &uuid, order);
            true
        })
    }

    /// Has the table read again for one record (`uac_reg_refresh`), on every shard.
    pub fn reg_refresh(&mut self, l_uuid: &str) {
        self.with(|uac, host, _| {
            uac.registrations.refresh(l_uuid);
            host.store(Row::Wanted);
        });
    }
}
