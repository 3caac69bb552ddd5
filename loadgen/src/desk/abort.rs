//! Leaving a call that went wrong, so that nobody goes on asking or ringing.
//!
//! For: calls that fail.
//! Not here: counting them (`mod.rs`).
//! Invariants: what is sent here is sent once and its answer is not waited for.

use super::Desk;
use super::call::{Call, Invite, Role};
use super::outbox::{Door, Outbox};
use super::render;
use std::net::SocketAddr;
use strowger_sip::limits::Limits;
use strowger_sip::message::{
    Head, HeaderName, Message, MethodKind, Reply, StatusCode, write_ack, write_cancel, write_reply,
};

impl Desk<'_> {
    /// Acknowledges, cancels, hangs up or refuses, whatever the call needs. `broke` is the message
    /// that nobody expected.
    pub(super) fn abort(&mut self, slot: u32, broke: Option<Message<'_>>) {
        let mut start = self.out.start();
        let call = self.calls.get(slot);
        let (door, remote) = (call.door, call.remote);
        if call.lingers {
            return;
        }
        let mut head = Head::default();
        let refused = broke.filter(|broke| {
            let of_invite = broke.cseq().is_ok_and(|c| c.method.kind() == MethodKind::Invite);
            of_invite && broke.status().is_some_and(|status| status.class() >= 3)
        });
        let invite = match head.parse(&call.invite, &Limits::STREAM) {
            Ok(()) => Some(head.message(&call.invite)),
            Err(_) => None,
        };
        match (call.role, refused, invite) {
            (Role::Caller, Some(refused), Some(invite)) => {
                write_ack(invite, refused, self.out.arena());
            }
            (Role::Caller, None, Some(invite)) => match call.inviting {
                // Before anything was heard there is nothing to cancel (§9.1).
                Invite::None | Invite::Sent => {}
                Invite::Rings => write_cancel(invite, &[], self.out.arena()),
                Invite::Answered => {
                    let number = invite.cseq().map_or(1, |cseq| cseq.number);
                    if call.ack.is_empty() {
                        within(call, invite, &self.run, ("ACK", number), &mut self.out);
                        self.counters.sent.count_bytes(self.out.since(start));
                        self.out.post(door, remote, slot, start);
                    }
                    start = self.out.start();
                    // Far above any number that the scenario has used.
                    within(call, invite, &self.run, ("BYE", number + 1000), &mut self.out);
                }
            },
            (Role::Caller | Role::Callee, _, _) => refuse(broke, &mut self.out),
        }
        if self.out.start() > start {
            self.counters.sent.count_bytes(self.out.since(start));
            self.out.post(door, remote, slot, start);
        }
    }

    /// Acknowledges a refusal to an INVITE of a call that is over: all that the server transaction
    /// looks at is in the response (§17.1.1.3, §17.2.3).
    pub(super) fn acknowledge(&mut self, door: Door, to: SocketAddr, refusal: Message<'_>) {
        let start = self.out.start();
        let out = self.out.arena();
        out.extend_from_slice(format!("ACK sip:{to} SIP/2.0\r\n").as_bytes());
        if let Some(via) = refusal.values(HeaderName::Via).next() {
            line(out, "Via", via.bytes);
        }
        copy(out, refusal, HeaderName::From);
        copy(out, refusal, HeaderName::To);
        copy(out, refusal, HeaderName::CallId);
        let number = refusal.cseq().map_or(1, |cseq| cseq.number);
        let end = format!("CSeq: {number} ACK\r\nMax-Forwards: 70\r\nContent-Length: 0\r\n\r\n");
        out.extend_from_slice(end.as_bytes());
        self.counters.sent.count_bytes(self.out.since(start));
        self.out.post(door, to, u32::MAX, start);
    }
}

/// A request within the dialog that an INVITE has made: its method and its number.
fn within(
    call: &Call,
    invite: Message<'_>,
    run: &super::Run,
    (method, number): (&str, u32),
    out: &mut Outbox,
) {
    let out = out.arena();
    let target = Some(call.next_url.as_slice()).filter(|url| !url.is_empty());
    let target = target.or(invite.request_uri()).unwrap_or(b"sip:invalid");
    out.extend_from_slice(method.as_bytes());
    out.push(b' ');
    out.extend_from_slice(target);
    out.extend_from_slice(b" SIP/2.0\r\n");
    if let Some(via) = invite.values(HeaderName::Via).next() {
        // The same sent-by with a branch of its own.
        let end = via.bytes.iter().position(|byte| *byte == b';').unwrap_or(via.bytes.len());
        out.extend_from_slice(b"Via: ");
        out.extend_from_slice(via.bytes.get(..end).unwrap_or(&[]));
        out.extend_from_slice(b";rport;branch=");
        // ACK and BYE are different transactions.
        let step = NO_STEP + usize::from(method == "BYE");
        render::branch(out, run, call.number, step);
        out.extend_from_slice(b"\r\n");
    }
    if !call.routes.is_empty() {
        line(out, "Route", &call.routes);
    }
    copy(out, invite, HeaderName::From);
    if let Some(to) = invite.header(HeaderName::To) {
        out.extend_from_slice(b"To: ");
        out.extend_from_slice(to.value);
        if !call.peer_tag.is_empty() && invite.to_tag().is_none() {
            out.extend_from_slice(b";tag=");
            out.extend_from_slice(&call.peer_tag);
        }
        out.extend_from_slice(b"\r\n");
    }
    copy(out, invite, HeaderName::CallId);
    let end = format!("CSeq: {number} {method}\r\nMax-Forwards: 70\r\nContent-Length: 0\r\n\r\n");
    out.extend_from_slice(end.as_bytes());
}

/// Branches from here on are no step's.
const NO_STEP: usize = 60_000;

/// Answers a request that has no place in its call.
fn refuse(broke: Option<Message<'_>>, out: &mut Outbox) {
    let asks =
        |broke: &Message<'_>| broke.method().is_some_and(|method| method.kind() != MethodKind::Ack);
    if let Some(broke) = broke.filter(asks) {
        write_reply(broke, &Reply::new(StatusCode::SERVER_INTERNAL_ERROR), out.arena());
    }
}

fn copy(out: &mut Vec<u8>, message: Message<'_>, name: HeaderName) {
    if let Some(field) = message.header(name) {
        line(out, name.canonical(), field.value);
    }
}

fn line(out: &mut Vec<u8>, name: &str, value: &[u8]) {
    out.extend_from_slice(name.as_bytes());
    out.extend_from_slice(b": ");
    out.extend_from_slice(value);
    out.extend_from_slice(b"\r\n");
}
