//! `nathelper`: user agents behind network address translators.
//!
//! For: `nat_uac_test`, contacts and session descriptions that say where a message really came
//! from, the way back by an alias (base.md §20). Methods of a request, a branch and a response; no
//! state.
//! Not here: keep-alives towards registered contacts (`location/`), `received` of a registration
//! (`registrar/`), relaying media.
//! Invariants: nothing here changes a message by itself: all is an edit of what is forwarded.

mod alias;
mod bits;
mod contact;
mod private;
mod sdp;

pub use alias::{Aliased, handle_alias};
pub use bits::NatTests;
pub(crate) use contact::source_uri;
pub use contact::{AliasWhen, ReceivedParam};
pub use private::{is_private, is_rfc1918};
pub use sdp::SdpFix;

use std::net::SocketAddr;
use strowger_sip::message::{ChangedField, Contacts, EditError, Edits, HeaderName, Message, Uri};
use strowger_sip::routing::{Branch, Request, Response, Routing};
use strowger_sip::transport::{Flow, Transport};

/// A message on its way, as this module sees it.
pub trait Passing {
    /// The message and the socket pair that it came over; `None` of a response that is made here.
    fn arrived(&self) -> Option<(Message<'_>, Flow)>;

    /// Where it is going and by which URI, where that is known: on a branch.
    fn leaving(&self) -> Option<(&[u8], Flow)> {
        None
    }

    /// Changes what is forwarded.
    ///
    /// # Errors
    /// When an edit is refused.
    fn change(
        &mut self,
        change: &mut dyn FnMut(&mut Edits) -> Result<(), EditError>,
    ) -> Result<(), EditError>;
}

impl<R: Routing> Passing for Request<'_, R> {
    fn arrived(&self) -> Option<(Message<'_>, Flow)> {
        Some((self.message(), self.source()))
    }
    fn change(
        &mut self,
        change: &mut dyn FnMut(&mut Edits) -> Result<(), EditError>,
    ) -> Result<(), EditError> {
        self.edit(|edits| change(edits))
    }
}

impl Passing for Branch<'_> {
    fn arrived(&self) -> Option<(Message<'_>, Flow)> {
        Some((self.message(), self.source()))
    }
    fn leaving(&self) -> Option<(&[u8], Flow)> {
        Some((self.request_uri(), self.destination()))
    }
    fn change(
        &mut self,
        change: &mut dyn FnMut(&mut Edits) -> Result<(), EditError>,
    ) -> Result<(), EditError> {
        change(self.edits())
    }
}

impl Passing for Response<'_> {
    fn arrived(&self) -> Option<(Message<'_>, Flow)> {
        self.message().zip(self.source())
    }
    fn change(
        &mut self,
        change: &mut dyn FnMut(&mut Edits) -> Result<(), EditError>,
    ) -> Result<(), EditError> {
        change(self.edits())
    }
}

/// What is known and done about NAT, for everything that is [`Passing`].
///
/// ```text
/// if !request.nat_uac_test(NatTests::USUAL).is_empty() {
///     request.contact_alias(AliasWhen::Different)?;
/// }
/// ```
pub trait Nat: Passing {
    /// Which of these tests say that the sender is behind a NAT (`nat_uac_test`).
    fn nat_uac_test(&self, tests: NatTests) -> NatTests {
        let Some((message, flow)) = self.arrived() else { return NatTests::NONE };
        let seen = Seen { message, source: flow, leaving: self.leaving() };
        NatTests::all().filter(|test| tests.contains(*test) && seen.hits(*test)).collect()
    }

    /// Writes the source's address and port into every contact (`fix_nated_contact`); how many
    /// Contact fields have changed. The user agent does not know that contact as its own: an alias
    /// ([`Nat::contact_alias`]) leaves it alone.
    ///
    /// # Errors
    /// When an edit is refused.
    fn fix_nated_contact(&mut self) -> Result<usize, EditError> {
        let fields = self.arrived().map(|(message, flow)| contact::fixed(message, flow.remote));
        replace(self, &fields.unwrap_or_default())
    }

    /// Adds `;alias=ADDRESS~PORT~TRANSPORT` of the source to every contact's URI
    /// (`add_contact_alias`, `set_contact_alias`); how many Contact fields have changed.
    /// [`NatRequest::handle_ruri_alias`] finds the way back.
    ///
    /// # Errors
    /// When an edit is refused.
    fn contact_alias(&mut self, when: AliasWhen) -> Result<usize, EditError> {
        let fields = self.arrived().map(|(message, flow)| contact::aliased(message, flow, when));
        replace(self, &fields.unwrap_or_default())
    }

    /// Adds `received`, a URI of the source, to every contact (`add_rcv_param`); how many Contact
    /// fields have changed.
    ///
    /// # Errors
    /// When an edit is refused.
    fn add_rcv_param(&mut self, place: ReceivedParam) -> Result<usize, EditError> {
        let fields = self.arrived().map(|(message, flow)| contact::received(message, flow, place));
        replace(self, &fields.unwrap_or_default())
    }

    /// Changes the session description, where there is one (`fix_nated_sdp`); whether it has.
    ///
    /// # Errors
    /// When an edit is refused.
    fn fix_nated_sdp(&mut self, fix: SdpFix) -> Result<bool, EditError> {
        let Some((message, flow)) = self.arrived() else { return Ok(false) };
        let content_type = content_type(message).to_vec();
        let Some(body) = fix.apply(&content_type, message.body(), flow.remote.ip()) else {
            return Ok(false);
        };
        self.change(&mut |edits| edits.replace_body(&content_type, &body))?;
        Ok(true)
    }
}

impl<P: Passing + ?Sized> Nat for P {}

/// What a request alone has.
pub trait NatRequest {
    /// The alias of the Request-URI, if it has one (`handle_ruri_alias`): where to send the
    /// request, and its Request-URI without the alias. For requests within a dialog that have no
    /// further Route.
    ///
    /// ```text
    /// if let Some(aliased) = request.handle_ruri_alias() {
    ///     return Ok(request.fork().to_by(aliased.uri, aliased.next_hop).into());
    /// }
    /// ```
    fn handle_ruri_alias(&self) -> Option<Aliased>;
}

impl<R: Routing> NatRequest for Request<'_, R> {
    fn handle_ruri_alias(&self) -> Option<Aliased> {
        handle_alias(self.request_uri())
    }
}

fn replace<P: Passing + ?Sized>(
    passing: &mut P,
    fields: &[ChangedField],
) -> Result<usize, EditError> {
    passing.change(&mut |edits| edits.replace_contacts(fields).map(|_| ()))?;
    Ok(fields.len())
}

fn content_type(message: Message<'_>) -> &[u8] {
    message.header(HeaderName::ContentType).map_or(&[], |field| field.value)
}

/// A message and where it came from.
struct Seen<'m> {
    message: Message<'m>,
    source: Flow,
    leaving: Option<(&'m [u8], Flow)>,
}

impl Seen<'_> {
    fn hits(&self, test: NatTests) -> bool {
        let source = self.source.remote;
        let ip = source.ip().to_canonical();
        match test {
            NatTests::CONTACT => self.contact(|uri| uri.host.ip().is_some_and(is_private)),
            NatTests::CONTACT_PORT => {
                let default = self.source.transport.default_port();
                self.contact(|uri| uri.port.unwrap_or(default) != source.port())
            }
            // The topmost Via of a response is ours.
            NatTests::VIA_SOURCE => {
                self.via(|via| via.host.ip().is_some_and(|host| host.to_canonical() != ip))
            }
            NatTests::VIA => self.via(|via| via.host.ip().is_some_and(is_private)),
            NatTests::VIA_PORT => self.via(|via| via.port_or_default() != source.port()),
            NatTests::SDP => self.sdp_any(is_private),
            NatTests::SDP_SOURCE => {
                self.sdp_any(|address| !address.is_unspecified() && address != ip)
            }
            NatTests::SOURCE => is_private(ip),
            NatTests::WEBSOCKET => self.is_websocket(),
            NatTests::TARGET => self.is_websocket() || self.target_differs(),
            _ => false,
        }
    }

    fn is_websocket(&self) -> bool {
        match self.source.transport {
            Transport::Ws | Transport::Wss => true,
            Transport::Udp | Transport::Tcp | Transport::Tls => false,
        }
    }

    /// Whether the first contact is so.
    fn contact(&self, is_so: impl FnOnce(&Uri<'_>) -> bool) -> bool {
        let Ok(Contacts::List(mut list)) = self.message.contacts() else { return false };
        let first = list.next().and_then(Result::ok);
        first.is_some_and(|contact| contact.uri().is_ok_and(|uri| is_so(&uri)))
    }

    fn via(&self, is_so: impl FnOnce(&strowger_sip::message::Via<'_>) -> bool) -> bool {
        self.message.is_request() && self.message.top_via().is_ok_and(|via| is_so(&via))
    }

    /// Whether one of the addresses to which media are to be sent is so.
    fn sdp_any(&self, is_so: impl Fn(std::net::IpAddr) -> bool) -> bool {
        let content_type = content_type(self.message);
        sdp::connections(content_type, self.message.body()).any(is_so)
    }

    /// A request goes elsewhere than its Request-URI says; a response goes to a hop that called
    /// itself otherwise.
    fn target_differs(&self) -> bool {
        if let Some((uri, flow)) = self.leaving {
            let uri = Uri::parse(uri).ok();
            let named = uri.and_then(|uri| {
                let port = uri.port.unwrap_or(flow.transport.default_port());
                Some(SocketAddr::new(uri.host.ip()?.to_canonical(), port))
            });
            return named.is_some_and(|named| named != flow.remote);
        }
        if self.message.is_request() {
            return false;
        }
        let Some(Ok(hop)) = self.message.vias().nth(1) else { return false };
        let (ip, port) = (hop.host.ip(), hop.port_or_default());
        let elsewhere = hop.received_ip().is_some_and(|received| ip != Some(received));
        elsewhere || hop.rport().flatten().is_some_and(|rport| rport != port)
    }
}

#[cfg(test)]
mod tests;
