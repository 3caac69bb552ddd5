//! What a routing asks of `permissions`.

use super::Permissions;
use super::address::{Allowed, Group};
use super::trusted::Question;
use std::marker::PhantomData;
use std::net::IpAddr;
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

    fn find(&self, ip: IpAddr, port: u16, group: Option<Group>) -> Option<Allowed> {
        self.request.module(|permissions: &mut Permissions, _, _| {
            let found = permissions.addresses.find(ip, port, group);
            permissions.counted(found)
        })
    }
}
