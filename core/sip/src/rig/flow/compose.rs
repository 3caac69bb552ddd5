//! What a party writes: requests and responses as a plain user agent makes them.
//!
//! For: sensible messages without a word in the script; the script changes what it wants otherwise.
//! Not here: the changes (`runner.rs`), what is remembered (`party.rs`).
//! Invariants: tags, branches and Call-IDs are the party's name and a number: a run replays.

use super::party::{Call, Dialog, Party, creates_dialog};
use super::script::{Endpoint, Options};
use super::text::{Text, uri_of};
use crate::message::{StatusCode, Uri};
use crate::transport::Transport;
use std::net::SocketAddr;

/// A message, and the URI or address that it goes to.
pub(super) struct Draft {
    pub(super) text: Text,
    pub(super) to: Destination,
}

/// Where a message goes.
pub(super) enum Destination {
    /// To the node, as to an outbound proxy.
    Node,
    /// To this address.
    Address(Endpoint),
}

/// `host[:port]`, the port left out where it is the default.
pub(super) fn host_port(endpoint: Endpoint) -> String {
    if endpoint.address.port() != endpoint.transport.default_port() {
        return endpoint.address.to_string();
    }
    match endpoint.address {
        SocketAddr::V4(address) => address.ip().to_string(),
        SocketAddr::V6(address) => format!("[{}]", address.ip()),
    }
}

/// The address that a URI names.
fn endpoint_of(uri: &str) -> Result<Endpoint, String> {
    let wrong = || format!("{uri} names no address");
    let parsed = Uri::parse(uri.as_bytes()).map_err(|_| wrong())?;
    let transport = parsed.transport().and_then(|name| Transport::from_name(name.as_bytes()));
    let transport = transport.unwrap_or(Transport::Udp);
    let host = parsed.maddr().unwrap_or(parsed.host);
    let ip = host.ip().ok_or_else(wrong)?;
    let port = parsed.port.unwrap_or(transport.default_port());
    Ok(Endpoint { transport, address: SocketAddr::new(ip, port) })
}

impl Party {
    /// A request: of a new call when it has a URI, within a dialog otherwise.
    pub(super) fn request(
        &mut self,
        (method, uri): (&str, Option<&str>),
        call_id: &str,
        remote_tag: Option<&str>,
    ) -> Result<Draft, String> {
        let draft = match (method, uri) {
            ("CANCEL", None) => self.cancel(call_id)?,
            ("ACK", None) => self.ack(call_id, remote_tag)?,
            (_, Some(uri)) => self.outside_dialog(method, uri, call_id),
            (_, None) => self.within_dialog(method, call_id, remote_tag)?,
        };
        Ok(draft)
    }

    fn next_via(&mut self) -> String {
        self.branches += 1;
        let transport = self.inside.transport.via_name();
        format!("SIP/2.0/{transport} {};branch={}", host_port(self.inside), self.branch())
    }

    fn contact(&self) -> String {
        let address = host_port(self.inside);
        let user = self.user();
        match self.inside.transport {
            Transport::Udp => format!("<sip:{user}@{address}>"),
            other @ (Transport::Tcp | Transport::Tls | Transport::Ws | Transport::Wss) => {
                format!("<sip:{user}@{address};transport={other}>")
            }
        }
    }

    fn outside_dialog(&mut self, method: &str, uri: &str, call_id: &str) -> Draft {
        let via = self.next_via();
        let contact = self.contact();
        let own = format!("<sip:{}@{}>", self.user(), host_port(self.inside));
        let call = self.call(call_id);
        call.cseq += 1;
        let mut text = Text { start: format!("{method} {uri} SIP/2.0"), ..Text::default() };
        text.add("Via", &via);
        text.add("Max-Forwards", "70");
        text.add("From", &format!("{own};tag={}", call.tag));
        text.add("To", &format!("<{uri}>"));
        text.add("Call-ID", call_id);
        text.add("CSeq", &format!("{} {method}", call.cseq));
        if creates_dialog(method) || method == "REGISTER" {
            text.add("Contact", &contact);
        }
        Draft { text, to: Destination::Node }
    }

    /// RFC 3261 §12.2.1.1.
    fn within_dialog(
        &mut self,
        method: &str,
        call_id: &str,
        remote_tag: Option<&str>,
    ) -> Result<Draft, String> {
        let dialog = self.call(call_id).dialog(remote_tag)?;
        let call = self.call(call_id);
        call.cseq += 1;
        let cseq = call.cseq;
        let mut draft = self.by_dialog(method, &dialog, cseq, call_id)?;
        if creates_dialog(method) || method == "UPDATE" {
            let contact = self.contact();
            draft.text.add("Contact", &contact);
        }
        Ok(draft)
    }

    fn by_dialog(
        &mut self,
        method: &str,
        dialog: &Dialog,
        cseq: u32,
        call_id: &str,
    ) -> Result<Draft, String> {
        let mut routes = dialog.routes.clone();
        let strict = routes.first().is_some_and(|first| !is_loose(first));
        let uri = if strict { uri_of(&routes.remove(0)).to_owned() } else { dialog.target.clone() };
        if strict {
            routes.push(format!("<{}>", dialog.target));
        }
        let next = if strict { &uri } else { routes.first().map_or(&uri, |first| first) };
        let to = Destination::Address(endpoint_of(uri_of(next))?);
        let mut text = Text { start: format!("{method} {uri} SIP/2.0"), ..Text::default() };
        text.add("Via", &self.next_via());
        text.add("Max-Forwards", "70");
        for route in &routes {
            text.add("Route", route);
        }
        text.add("From", &dialog.local);
        text.add("To", &dialog.remote);
        text.add("Call-ID", call_id);
        text.add("CSeq", &format!("{cseq} {method}"));
        Ok(Draft { text, to })
    }

    /// §13.2.2.4 for a 2xx, §17.1.1.3 for the others.
    fn ack(&mut self, call_id: &str, remote_tag: Option<&str>) -> Result<Draft, String> {
        let call = self.call(call_id);
        let answered = call.answers.iter().rev().find(|answer| {
            let wanted =
                remote_tag.is_none_or(|tag| answer.param("To", "tag").as_deref() == Some(tag));
            wanted && answer.method() == "INVITE" && answer.status().is_some_and(|code| code >= 200)
        });
        let answer = answered.ok_or("no final response to an INVITE was read")?.clone();
        if answer.status().is_some_and(|code| code < 300) {
            let tag = answer.param("To", "tag");
            let dialog = call.dialog(tag.as_deref())?;
            return self.by_dialog("ACK", &dialog, answer.cseq(), call_id);
        }
        let (invite, to) = call.invite()?;
        let to_header = answer.get("To").unwrap_or_default();
        Ok(Draft { text: hop_by_hop("ACK", &invite, to_header), to: Destination::Address(to) })
    }

    /// §9.1.
    fn cancel(&mut self, call_id: &str) -> Result<Draft, String> {
        let (invite, to) = self.call(call_id).invite()?;
        let to_header = invite.get("To").unwrap_or_default();
        Ok(Draft { text: hop_by_hop("CANCEL", &invite, to_header), to: Destination::Address(to) })
    }

    /// §8.2.6.
    pub(super) fn response(
        &mut self,
        (code, reason): (u16, Option<&str>),
        options: &Options,
        call_id: &str,
    ) -> Result<Draft, String> {
        let contact = self.contact();
        let call = self.call(call_id);
        let heard = call.heard.iter().rev().find(|(request, _)| match &options.answering {
            Some(method) => request.method() == method,
            None => request.method() != "ACK",
        });
        let (request, from) = heard.ok_or("no request was read that this could answer")?.clone();
        let usual = StatusCode::new(code).map_or("Unknown", StatusCode::reason);
        let start = format!("SIP/2.0 {code} {}", reason.unwrap_or(usual));
        let mut text = Text { start, ..Text::default() };
        for name in ["Via", "From", "To", "Call-ID", "CSeq"] {
            request.all(name).for_each(|value| text.add(name, value));
        }
        if code > 100 && request.param("To", "tag").is_none() {
            let tag = options.tag.as_deref().unwrap_or(&call.tag);
            let to = format!("{};tag={tag}", request.get("To").unwrap_or_default());
            text.set("To", &to);
        }
        if (101..300).contains(&code) && creates_dialog(request.method()) {
            request.all("Record-Route").for_each(|value| text.add("Record-Route", value));
            text.add("Contact", &contact);
            call.accept(&request, &text);
        }
        let to = Destination::Address(reply_address(&text).unwrap_or(from));
        Ok(Draft { text, to })
    }
}

/// Where a response goes by its top Via (§18.2.2, RFC 3581 §4).
fn reply_address(response: &Text) -> Option<Endpoint> {
    let top = response.list("Via").into_iter().next()?;
    let (protocol, rest) = top.split_once(char::is_whitespace)?;
    let transport = Transport::from_name(protocol.rsplit('/').next()?.as_bytes())?;
    let sent_by = rest.split(';').next()?.trim();
    let by_name = |name: &str| response.param("Via", name);
    let written = endpoint_of(&format!("sip:{sent_by};transport={transport}")).ok();
    let ip = match by_name("maddr").or_else(|| by_name("received")) {
        Some(address) => address.trim_matches(['[', ']']).parse().ok()?,
        None => written?.address.ip(),
    };
    let port = by_name("rport").and_then(|port| port.parse().ok());
    let port = port.or(written.map(|written| written.address.port()));
    Some(Endpoint { transport, address: SocketAddr::new(ip, port?) })
}

/// ACK and CANCEL go the way of their INVITE, with its branch.
fn hop_by_hop(method: &str, invite: &Text, to: &str) -> Text {
    let mut text = Text { start: format!("{method} {} SIP/2.0", invite.uri()), ..Text::default() };
    text.add("Via", &invite.list("Via").into_iter().next().unwrap_or_default());
    text.add("Max-Forwards", "70");
    invite.all("Route").for_each(|route| text.add("Route", route));
    text.add("From", invite.get("From").unwrap_or_default());
    text.add("To", to);
    text.add("Call-ID", invite.get("Call-ID").unwrap_or_default());
    text.add("CSeq", &format!("{} {method}", invite.cseq()));
    text
}

fn is_loose(route: &str) -> bool {
    Uri::parse(uri_of(route).as_bytes()).is_ok_and(|uri| uri.lr())
}

impl Call {
    fn dialog(&self, remote_tag: Option<&str>) -> Result<Dialog, String> {
        let wanted = |dialog: &&Dialog| remote_tag.is_none_or(|tag| dialog.remote_tag == tag);
        let dialog = self.dialogs.iter().rev().find(wanted).cloned();
        dialog.ok_or_else(|| "there is no dialog for this; give a Request-URI to begin one".into())
    }

    fn invite(&self) -> Result<(Text, Endpoint), String> {
        let sent = self.asked.iter().rev().find(|(request, _)| request.method() == "INVITE");
        sent.cloned().ok_or_else(|| "no INVITE was sent in this call".to_owned())
    }
}
