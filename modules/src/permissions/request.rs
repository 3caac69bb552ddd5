//! What a routing asks of `permissions`.

use super::Permissions;
use super::address::{Allowed, Group};
use super::rules::Permit;
use super::trusted::Question;
use std::marker::PhantomData;
use std::net::IpAddr;
use strowger_sip::message::{Contacts, Message, NameAddr};
use strowger_sip::module::Has;
use strowger_sip::routing::{ListOf, Request, Routing};
use strowger_sip::transport::Transport;

/// Gives a request its `permissions()`.
pub trait PermissionsRequest<'a, R: Routing, N> {
    /// The address lists, asked about this request.
    ///
    /// ```text
    /// let trunk = request.permissions().allow_source_address(1).ok_or(Reply::forbidden())?;
    /// ```
    fn permissions(&self) -> PermissionsOf<'_, 'a, R, N>;
}

impl<'a, R: Routing, N> PermissionsRequest<'a, R, N> for Request<'a, R>
where
    ListOf<R>: Has<Permissions, N>,
{
    fn permissions(&self) -> PermissionsOf<'_, 'a, R, N> {
        PermissionsOf { request: self, place: PhantomData }
    }
}

/// The address lists and one request.
#[must_use]
pub struct PermissionsOf<'q, 'a, R: Routing, N> {
    request: &'q Request<'a, R>,
    place: PhantomData<N>,
}

impl<R: Routing, N> PermissionsOf<'_, '_, R, N>
where
    ListOf<R>: Has<Permissions, N>,
{
    /// Whether a group holds this address and port.
    #[must_use]
    pub fn allow_address(&self, group: u32, ip: IpAddr, port: u16) -> Option<Allowed> {
        self.find(ip, port, Some(Group(group)))
    }

    /// Whether a group holds the address and port that the request came from.
    #[must_use]
    pub fn allow_source_address(&self, group: u32) -> Option<Allowed> {
        let remote = self.request.source().remote;
        self.find(remote.ip(), remote.port(), Some(Group(group)))
    }

    /// Which group holds this address and port.
    #[must_use]
    pub fn allow_address_group(&self, ip: IpAddr, port: u16) -> Option<Allowed> {
        self.find(ip, port, None)
    }

    /// Which group holds the address and port that the request came from.
    #[must_use]
    pub fn allow_source_address_group(&self) -> Option<Allowed> {
        let remote = self.request.source().remote;
        self.find(remote.ip(), remote.port(), None)
    }

    /// Whether source, transport, From and Request-URI match a trusted row.
    #[must_use]
    pub fn allow_trusted(&self) -> Option<Allowed> {
        let source = self.request.source();
        self.allow_trusted_from(source.remote.ip(), source.transport)
    }

    /// The same as if the request had come from there.
    #[must_use]
    pub fn allow_trusted_from(&self, ip: IpAddr, transport: Transport) -> Option<Allowed> {
        let message = self.request.message();
        let from = message.from();
        let from = from.as_ref().map_or(&[][..], |from| from.uri);
        let request_uri = self.request.request_uri();
        self.request.module(|permissions: &mut Permissions, _, _| {
            let asked = Question { ip, transport, from, request_uri };
            let found = permissions.trusted.find(&asked);
            permissions.counted(found)
        })
    }

    /// Whether From and Request-URI may go together by the default rules (`allow_routing`).
    pub fn allow_routing(&self) -> Permit {
        self.allow_routing_by("")
    }

    /// The same by the rules of this name.
    pub fn allow_routing_by(&self, rules: &str) -> Permit {
        self.allow_uri(rules, self.request.request_uri())
    }

    /// Whether From and a URI may go together by the rules of this name (`allow_uri`).
    pub fn allow_uri(&self, rules: &str, uri: &[u8]) -> Permit {
        let message = self.request.message();
        let from = message.from();
        let from = from.as_ref().map_or(&[][..], |from| from.uri);
        self.judge(rules, from, [uri].into_iter())
    }

    /// Whether To and every Contact may go together by the rules of this name (`allow_register`);
    /// `""` for the default rules. A REGISTER without contacts, or that removes all, is allowed.
    pub fn allow_register(&self, rules: &str) -> Permit {
        let message = self.request.message();
        let to = message.to();
        let to = to.as_ref().map_or(&[][..], |to| to.uri);
        match contacts(message) {
            Some(contacts) => self.judge(rules, to, contacts.into_iter()),
            None => Permit::Unknown,
        }
    }

    fn judge<'u>(
        &self,
        rules: &str,
        left: &[u8],
        mut rights: impl Iterator<Item = &'u [u8]>,
    ) -> Permit {
        self.request.module(|permissions: &mut Permissions, _, _| {
            let judged =
                rights.try_for_each(|right| match permissions.rules.judge(rules, left, right) {
                    Permit::Allowed => Ok(()),
                    other @ (Permit::Denied | Permit::Unknown) => Err(other),
                });
            let permit = judged.err().unwrap_or(Permit::Allowed);
            permissions.counters.allowed += u64::from(permit.is_allowed());
            permissions.counters.refused += u64::from(!permit.is_allowed());
            permit
        })
    }

    fn find(&self, ip: IpAddr, port: u16, group: Option<Group>) -> Option<Allowed> {
        self.request.module(|permissions: &mut Permissions, _, _| {
            let found = permissions.addresses.find(ip, port, group);
            permissions.counted(found)
        })
    }
}

/// The URIs of all contacts; `None` when one cannot be read.
fn contacts(message: Message<'_>) -> Option<Vec<&[u8]>> {
    match message.contacts().ok()? {
        Contacts::Star => Some(Vec::new()),
        Contacts::List(list) => {
            list.map(|contact| contact.ok().map(|contact: NameAddr<'_>| contact.uri)).collect()
        }
    }
}
