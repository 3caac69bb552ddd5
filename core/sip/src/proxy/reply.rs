//! Responses made here: in a transaction, or without one (RFC 3261 §8.2.6, §8.2.7).
//!
//! For: the engine's refusals, a routing's replies, a module's answers.
//! Not here: responses from downstream (`response.rs`).
//! Invariants: an INVITE gets one final response; the To tag of one transaction never changes.

use super::branch::{push_hex, take_hex};
use super::cancel::Why;
use crate::engine::core::State;
use crate::engine::incoming::{Answers, Incoming};
use crate::engine::key::TopVia;
use crate::engine::slots::{ServerId, ServerMachine};
use crate::message::{
    Edits, Message, NO_EDITS, Reply as LocalReply, StatusCode, TopVia as Stamp, write_reply,
};
use crate::module::Departing;
use crate::module::list::ModuleList;
use crate::routing::Reply;
use crate::transaction::{Responded, Step};
use crate::transport::Flow;
use smallvec::SmallVec;
use std::cell::Cell;
use std::net::SocketAddr;
use std::rc::Rc;

/// What is written into the top Via on receiving a request (§18.2.1, RFC 3581 §4).
pub(crate) fn top_via_stamp(request: &Incoming) -> Stamp {
    answers(request).stamp
}

/// How answers to a request go back.
pub(crate) fn answers(request: &Incoming) -> Answers {
    request.answers(|| match request.message().top_via() {
        Ok(via) => answers_by((&via, &via.known()), request.flow()),
        Err(_) => Answers { flow: request.flow(), stamp: Stamp::Keep },
    })
}

/// The same when the top Via was read already.
pub(crate) fn note_answers(request: &Incoming, via: TopVia<'_>) {
    request.answers(|| answers_by(via, request.flow()));
}

fn answers_by(via: TopVia<'_>, flow: Flow) -> Answers {
    Answers { flow: reply_flow(via, flow), stamp: stamp(via, flow.remote) }
}

fn stamp((via, known): TopVia<'_>, remote: SocketAddr) -> Stamp {
    let rport = known.has_rport();
    if !rport && via.host.ip() == Some(remote.ip()) && !known.has_received() {
        return Stamp::Keep;
    }
    Stamp::Stamp { received: Some(remote.ip()), rport: rport.then_some(remote.port()) }
}

/// Where the responses to a request go (§18.2.2, RFC 3581 §4).
fn reply_flow((via, known): TopVia<'_>, flow: Flow) -> Flow {
    if flow.transport.is_reliable() {
        // The connection it came over; should that be gone, a new one to its source at the port of
        // the Via, for the source's own port was of that connection.
        return Flow { remote: SocketAddr::new(flow.remote.ip(), via.port_or_default()), ..flow };
    }
    if let Some(address) = known.maddr().and_then(|host| host.ip()) {
        return Flow { remote: SocketAddr::new(address, via.port_or_default()), ..flow };
    }
    let port = if known.has_rport() { flow.remote.port() } else { via.port_or_default() };
    Flow { remote: SocketAddr::new(flow.remote.ip(), port), ..flow }
}

/// The To tag of a transaction's own responses; it leads back to the slot when an ACK brings it.
pub(crate) fn write_tag(server: ServerId, tag: u64, out: &mut Vec<u8>) {
    push_hex(out, server.as_u64());
    push_hex(out, tag);
}

/// Reads such a tag.
pub(crate) fn read_tag(text: &[u8]) -> Option<(ServerId, u64)> {
    let (server, rest) = take_hex(text)?;
    let (tag, rest) = take_hex(rest)?;
    rest.is_empty().then(|| (ServerId::from_u64(server), tag))
}

impl<L: ModuleList> State<L> {
    /// Sends a response in a server transaction. A final one ends the routing's part.
    pub(crate) fn reply(&mut self, server: ServerId, reply: &Reply) {
        let Some(slot) = self.core.servers.get(server) else { return };
        let Some(context) = slot.context else { return };
        let Some(kept) = self.core.contexts.get(context) else { return };
        if kept.final_sent {
            return;
        }
        let request = Rc::clone(&kept.request);
        let status = reply.status();
        let mut edits = std::mem::take(&mut self.core.scratch.reply_edits);
        edits.clear();
        let suppress = Cell::new(false);
        let departing = Departing {
            status,
            message: None,
            flow: None,
            transaction: server,
            request: Some(&request),
            suppress: &suppress,
        };
        self.modules.response(&mut self.core, &departing, &mut edits);
        self.respond(server, &request, reply, &edits);
        self.core.scratch.reply_edits = edits;
        if status.is_final()
            && let Some(kept) = self.core.contexts.get_mut(context)
        {
            kept.final_sent = true;
            self.cancel_pending(context, Why::Status(status));
            self.finish(context);
        }
    }

    /// Writes and sends a response of our own in a server transaction.
    pub(crate) fn respond(
        &mut self,
        server: ServerId,
        request: &Incoming,
        reply: &Reply,
        edits: &Edits,
    ) {
        let core = &mut self.core;
        let Some(slot) = core.servers.get_mut(server) else { return };
        let mut tag: SmallVec<[u8; 32]> = SmallVec::new();
        let mut text = std::mem::take(&mut core.scratch.via);
        text.clear();
        let (of, own) = slot.tag_of.unwrap_or((server, slot.tag));
        write_tag(of, own, &mut text);
        tag.extend_from_slice(&text);
        core.scratch.via = text;
        let (status, flow) = (reply.status(), slot.reply_flow);
        let mut step = Step {
            now: core.now,
            timers: &core.settings.timers,
            out: &mut core.out.sends,
            pool: &mut core.pool,
        };
        let write = |out: &mut Vec<u8>| write_local(request, reply, Some(&tag), edits, out);
        let responded = match &mut slot.machine {
            ServerMachine::Invite(machine) if status.is_success() => {
                machine.answer(flow, write, &mut step)
            }
            ServerMachine::Invite(machine) => {
                machine.respond(status.code(), flow, write, &mut step)
            }
            ServerMachine::NonInvite(machine) => {
                machine.respond(status.code(), flow, write, &mut step)
            }
        };
        if responded == Responded::Sent {
            core.metrics.replies_made += 1;
            core.metrics.responses_sent += 1;
        }
        core.rearm_server(server);
    }

    /// 100: for an INVITE at once (§16.2), so that the caller stops resending; for other requests
    /// only when they take long (RFC 4320 §4.1). Modules do not see it.
    pub(crate) fn trying(&mut self, server: ServerId, request: &Incoming) {
        self.respond(server, request, &Reply::new(100), &NO_EDITS);
    }

    /// Answers without a transaction (§8.2.7); never an ACK.
    pub(crate) fn reply_stateless(&mut self, request: &Incoming, reply: &Reply) {
        let message = request.message();
        let mut tag: SmallVec<[u8; 17]> = SmallVec::new();
        let mut text = std::mem::take(&mut self.core.scratch.via);
        text.clear();
        text.push(b's');
        push_hex(&mut text, self.stateless_tag(message));
        tag.extend_from_slice(&text);
        self.core.scratch.via = text;
        let flow = answers(request).flow;
        let edits = &NO_EDITS;
        self.core.out.sends.send_with(flow, |out| {
            write_local(request, reply, Some(&tag), edits, out);
        });
        self.core.metrics.replies_made += 1;
        self.core.metrics.responses_sent += 1;
    }

    /// Whether an ACK answers a response that was sent without a transaction.
    pub(crate) fn acknowledges_stateless(&self, ack: Message<'_>) -> bool {
        let tag = ack.to_tag().and_then(|tag| tag.strip_prefix(b"s")).and_then(take_hex);
        tag.is_some_and(|(tag, rest)| rest.is_empty() && tag == self.stateless_tag(ack))
    }

    fn stateless_tag(&self, message: Message<'_>) -> u64 {
        let mut digest = self.core.digest();
        digest.add(b"stateless tag");
        digest.add(message.call_id().unwrap_or(&[]));
        digest.add(message.from_tag().unwrap_or(&[]));
        digest.add(&message.cseq().map_or(0, |cseq| cseq.number).to_be_bytes());
        digest.finish()
    }
}

fn write_local(
    request: &Incoming,
    reply: &Reply,
    tag: Option<&[u8]>,
    edits: &Edits,
    out: &mut Vec<u8>,
) {
    let headers: SmallVec<[(&[u8], &[u8]); 4]> =
        reply.headers().iter().map(|(name, value)| (name.as_bytes(), value.as_bytes())).collect();
    // "100 ... MUST NOT" carry a tag that would later differ (§8.2.6.2 allows none).
    let to_tag = tag.filter(|_| reply.status() != StatusCode::TRYING);
    let local = LocalReply {
        status: reply.status(),
        reason: reply.reason_phrase(),
        to_tag,
        top_via: top_via_stamp(request),
        headers: &headers,
        edits,
        body: reply.body_parts().map(|(content_type, bytes)| (content_type.as_bytes(), bytes)),
    };
    write_reply(request.message(), &local, out);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::limits::Limits;
    use crate::message::Head;
    use crate::transport::{ConnectionId, ListenerId, Transport};

    fn replied_to(transport: Transport, via: &str) -> Flow {
        let text = format!(
            "OPTIONS sip:h SIP/2.0\r\nVia: {via}\r\nFrom: <sip:a@h>;tag=1\r\nTo: <sip:h>\r\n\
             Call-ID: 1\r\nCSeq: 1 OPTIONS\r\nContent-Length: 0\r\n\r\n"
        );
        let mut head = Head::default();
        head.parse(text.as_bytes(), &Limits::DATAGRAM).expect("a request");
        let remote = "192.0.2.10:40123".parse().expect("an address");
        let connection = transport.is_reliable().then_some(ConnectionId(7));
        let flow = Flow { transport, listener: ListenerId(1), remote, connection };
        let via = head.message(text.as_bytes()).top_via().expect("a Via");
        reply_flow((&via, &via.known()), flow)
    }

    #[test]
    fn a_stream_carries_its_own_answers_and_names_where_else_they_may_go() {
        for (via, fallback) in [
            ("SIP/2.0/TCP 10.0.0.5:5070;rport;branch=z9hG4bK1", "192.0.2.10:5070"),
            ("SIP/2.0/TCP 10.0.0.5;branch=z9hG4bK1", "192.0.2.10:5060"),
            ("SIP/2.0/TLS client.example.com;branch=z9hG4bK1", "192.0.2.10:5061"),
        ] {
            let flow = replied_to(Transport::Tcp, via);
            assert_eq!(flow.connection, Some(ConnectionId(7)));
            assert_eq!(flow.remote.to_string(), fallback);
            assert_eq!(flow.listener, ListenerId(1));
        }
    }

    #[test]
    fn a_datagram_is_answered_where_its_via_says() {
        for (via, to) in [
            ("SIP/2.0/UDP 10.0.0.5:5070;branch=z9hG4bK1", "192.0.2.10:5070"),
            ("SIP/2.0/UDP 10.0.0.5:5070;rport;branch=z9hG4bK1", "192.0.2.10:40123"),
            ("SIP/2.0/UDP 10.0.0.5;maddr=192.0.2.99;branch=z9hG4bK1", "192.0.2.99:5060"),
        ] {
            assert_eq!(replied_to(Transport::Udp, via).remote.to_string(), to, "{via}");
        }
    }
}
