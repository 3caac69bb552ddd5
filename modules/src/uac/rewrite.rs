//! From and To on their way: replaced once, and shown to each party as that party knows them.
//!
//! For: the headers of a replaced request, of every later request of its dialog in both directions,
//! and of all responses (uac.md f.1 to f.6).
//! Not here: the cookie itself (`cookie.rs`), dialog variables (`by_dialog.rs`).
//! Invariants: what is shown derives from what was stored, never from what a peer happens to send;
//! of several replacements of one header the last counts; a response shows its receiver what the
//! receiver wrote.

use super::address::{self, Change};
use super::answer::SHIFT_PARAM;
use super::cookie::{Header, Pair, Sealer, Shown, Way, Whose, fold, unfold};
use super::settings::{CookieForm, RestoreMode, Settings};
use super::{Attached, Uac};
use strowger_sip::engine::slots::ServerId;
use strowger_sip::message::{Edits, HeaderName, Message, NameAddr, Uri};
use strowger_sip::module::{Departing, Host, Outgoing};

/// What a routing wants of one header.
#[derive(Clone, Debug)]
pub(super) struct Replacement {
    pub(super) header: Header,
    /// The Request-URI of the only branch that it is for.
    pub(super) branch: Option<Vec<u8>>,
    pub(super) display: Option<Vec<u8>>,
    pub(super) uri: Option<Vec<u8>>,
    /// The dialog remembers it: no cookie is written.
    pub(super) by_dialog: bool,
}

/// What this module does with the headers of one transaction.
#[derive(Debug, Default)]
pub(super) struct Rewriting {
    /// In the order in which they were asked for.
    pub(super) replacements: Vec<Replacement>,
    /// What responses show in From and in To instead of what comes back.
    pub(super) shown: [Option<Vec<u8>>; 2],
}

impl Header {
    pub(super) const fn place(self) -> usize {
        match self {
            Header::From => 0,
            Header::To => 1,
        }
    }

    /// The header's value in a message.
    pub(super) fn of<'m>(self, message: Message<'m>) -> Option<NameAddr<'m>> {
        match self {
            Header::From => message.from().ok(),
            Header::To => message.to().ok(),
        }
    }
}

impl Rewriting {
    /// Responses show this header as it was received.
    pub(super) fn show_as_received(&mut self, header: Header, message: Message<'_>) {
        if let (Some(place), Some(address)) =
            (self.shown.get_mut(header.place()), header.of(message))
            && place.is_none()
        {
            *place = Some(address.raw.to_vec());
        }
    }
}

/// A header that is to be written: what becomes of it.
pub(super) struct Restored {
    pub(super) header: Header,
    pub(super) value: Vec<u8>,
    /// The parameter as it stands in the Route, to be repeated in a Record-Route of this request.
    pub(super) param: Vec<u8>,
}

impl Settings {
    /// The name of the parameter that remembers a header.
    pub(super) fn param(&self, header: Header) -> &str {
        match header {
            Header::From => &self.from_param,
            Header::To => &self.to_param,
        }
    }

    fn password(&self) -> &[u8] {
        self.restore_passwd.as_deref().unwrap_or_default().as_bytes()
    }
}

/// What this node's own entry in a Route says.
pub(super) struct Own<'m> {
    /// What remembers From, and what To.
    cookies: [Option<&'m [u8]>; 2],
    /// What remembers raised numbers.
    pub(super) shift: Option<&'m [u8]>,
    ftag: Option<&'m [u8]>,
}

impl Settings {
    /// The entry that led a request within a dialog here: one of the topmost in Route, or the
    /// Request-URI that a strict router has put it into. `None` when it remembers nothing.
    pub(super) fn own_entry<'m>(
        &self,
        message: Message<'m>,
        is_ours: impl Fn(&Uri<'_>) -> bool,
    ) -> Option<Own<'m>> {
        let _ = message.to_tag()?;
        let look = |uri: &Uri<'m>| {
            let value = |name: &str| uri.params.value(name.as_bytes());
            let cookies = [value(&self.from_param), value(&self.to_param)];
            let shift = value(SHIFT_PARAM);
            let any = shift.is_some() || cookies.iter().any(Option::is_some);
            any.then(|| Own { cookies, shift, ftag: value("ftag") })
        };
        // With double record-routing the first two entries are ours.
        for route in message.routes().take(2) {
            let uri = route.ok()?.uri().ok()?;
            if let Some(own) = look(&uri) {
                return is_ours(&uri).then_some(own);
            }
        }
        let target = message.uri().ok().filter(|uri| uri.user.is_none())?;
        look(&target).filter(|_| is_ours(&target))
    }
}

impl Uac {
    /// What the cookie of `replaced` says of a request within a dialog.
    pub(super) fn restored(
        &self,
        message: Message<'_>,
        replaced: Header,
        own: &Own<'_>,
    ) -> Option<Restored> {
        let name = self.settings.param(replaced);
        let cookie = own.cookies.get(replaced.place()).copied().flatten()?;
        let from_tag = message.from_tag().unwrap_or_default();
        let call_id = message.call_id().unwrap_or_default();
        let (header, value) = match self.settings.form {
            CookieForm::Sealed => {
                let of = Whose { header: replaced, call_id, from_tag };
                let (pair, way) = self.sealer.open(cookie, of)?;
                of_pair(message, replaced, &pair, way)?
            }
            CookieForm::Kamailio => {
                let header = match own.ftag {
                    Some(ftag) if ftag != from_tag => replaced.other(),
                    Some(_) | None => replaced,
                };
                let present = header.of(message)?;
                let uri = unfold(cookie, present.uri, self.settings.password())?;
                let change = Change { uri: Some(&uri), ..Change::default() };
                (header, address::changed(present.raw, change)?)
            }
        };
        let mut param = vec![b';'];
        param.extend_from_slice(name.as_bytes());
        param.push(b'=');
        param.extend_from_slice(cookie);
        Some(Restored { header, value, param })
    }

    /// Requests within a dialog, in mode `auto`.
    pub(super) fn follow(
        &self,
        host: &mut impl Host<Uac>,
        (message, transaction): (Message<'_>, Option<ServerId>),
        own: &Own<'_>,
        outgoing: &mut Outgoing<'_>,
    ) {
        if self.settings.restore != RestoreMode::Auto {
            return;
        }
        for replaced in Header::BOTH {
            let Some(restored) = self.restored(message, replaced, own) else { continue };
            outgoing.record_route_params.extend_from_slice(&restored.param);
            // With as many edits as there may be, the request goes as it is.
            let _ = outgoing.edits.replace(restored.header.name(), 0, &restored.value);
            if let Some(attached) = transaction.and_then(|id| host.attached(id)) {
                attached.rewriting().show_as_received(restored.header, message);
            }
        }
    }

    /// Writes what a routing has replaced, and the cookie that remembers it.
    pub(super) fn replace(
        &self,
        host: &mut impl Host<Uac>,
        (message, rewriting): (Message<'_>, &Rewriting),
        outgoing: &mut Outgoing<'_>,
    ) {
        for header in Header::BOTH {
            let fits = |one: &&Replacement| {
                let branch = one.branch.as_deref().is_none_or(|uri| uri == outgoing.request_uri);
                one.header == header && branch
            };
            let Some(last) = rewriting.replacements.iter().rev().find(fits) else { continue };
            let Some(address) = header.of(message) else { continue };
            let change = Change { display: last.display.as_deref(), uri: last.uri.as_deref() };
            let Some(value) = address::changed(address.raw, change) else { continue };
            let _ = outgoing.edits.replace(header.name(), 0, &value);
            if last.by_dialog || self.settings.restore == RestoreMode::None {
                continue;
            }
            if let Some(cookie) = self.cookie(host, (message, header), last) {
                outgoing.record_route_params.push(b';');
                let name = self.settings.param(header).as_bytes();
                outgoing.record_route_params.extend_from_slice(name);
                outgoing.record_route_params.push(b'=');
                outgoing.record_route_params.extend_from_slice(cookie.as_bytes());
            }
        }
    }

    fn cookie(
        &self,
        host: &mut impl Host<Uac>,
        (message, header): (Message<'_>, Header),
        last: &Replacement,
    ) -> Option<String> {
        let address = header.of(message)?;
        let new_uri = last.uri.as_deref().unwrap_or(address.uri);
        match self.settings.form {
            CookieForm::Kamailio => {
                // A name alone is not remembered in this form.
                last.uri.as_deref()?;
                Some(fold(address.uri, new_uri, self.settings.password()))
            }
            CookieForm::Sealed => {
                let named = last.display.is_some();
                let original = Shown {
                    display: named.then(|| address.display.to_vec()),
                    uri: address.uri.to_vec(),
                };
                let new = Shown { display: last.display.clone(), uri: new_uri.to_vec() };
                let from_tag = message.from_tag().unwrap_or_default();
                let of = Whose { header, call_id: message.call_id().ok()?, from_tag };
                let (high, low) = host.entropy().keys();
                let cookie = self.sealer.seal(&Pair { original, new }, of, [high, low]);
                (!cookie.is_empty()).then_some(cookie)
            }
        }
    }

    /// A response shows its receiver what the receiver wrote.
    pub(super) fn show(attached: &Attached, response: &Departing<'_>, edits: &mut Edits) {
        let Some(rewriting) = attached.rewriting_if_any() else { return };
        // What is made here repeats the request as it was received.
        let Some(message) = response.message else { return };
        for header in Header::BOTH {
            let Some(Some(original)) = rewriting.shown.get(header.place()) else { continue };
            let name = match header {
                Header::From => HeaderName::From,
                Header::To => HeaderName::To,
            };
            let Some(field) = message.header(name) else { continue };
            if let Some(value) = address::with_params_of(original, field.value) {
                let _ = edits.replace(header.name(), 0, &value);
            }
        }
    }
}

/// What a request that goes this way shows, when this pair was made of `replaced`.
pub(super) fn of_pair(
    message: Message<'_>,
    replaced: Header,
    pair: &Pair,
    way: Way,
) -> Option<(Header, Vec<u8>)> {
    let (header, shown) = match way {
        Way::Downstream => (replaced, &pair.new),
        Way::Upstream => (replaced.other(), &pair.original),
    };
    let present = header.of(message)?;
    let change = Change { display: shown.display.as_deref(), uri: Some(&shown.uri) };
    Some((header, address::changed(present.raw, change)?))
}

impl Sealer {
    /// From the configured password, or else from the node's lasting secret.
    pub(super) fn of(settings: &Settings, secret: &[u8]) -> Sealer {
        match settings.restore_passwd.as_deref() {
            Some(password) if !password.is_empty() => Sealer::new(password.as_bytes()),
            Some(_) | None => Sealer::new(secret),
        }
    }
}
