//! Answers to challenges of next hops, on behalf of the caller (Kamailio's `uac_auth`).
//!
//! For: choosing challenge and credential after a failure, proofs and raised numbers on the
//! branches that follow, and the numbers of responses and later requests (uac.md f.7, f.8).
//! Not here: proofs (`proof.rs`), numbers of tracked calls (`dialog/`, by `raise_cseq`).
//! Invariants: a proof goes only to the address that has challenged; it is made for the very
//! Request-URI and body that are sent; the caller never sees a number that is not its own.

use super::challenge::{self, By, choose};
use super::proof::{Said, Session, cnonce};
use super::rewrite::Own;
use super::secret::Credential;
use super::{Call, Uac};
use crate::keyed::hmac;
use std::net::IpAddr;
use strowger_sip::engine::slots::ServerId;
use strowger_sip::message::{Edits, HeaderName, Message, MethodKind};
use strowger_sip::module::{Arrived, Host, Outgoing};
use strowger_sip::routing::{Failed, Reply};

/// Why a challenge is not answered; the best response goes upstream then.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NotAuthorized {
    /// The failure is no challenge of a peer, or holds none that can be answered.
    NoChallenge,
    /// There is no credential for it.
    NoCredential,
    /// The credential was refused: the same realm asks again, and not because of a stale nonce.
    Refused,
    /// It was challenged `auth_rounds_max` times, or the caller has given up.
    Over,
}

impl From<NotAuthorized> for Reply {
    /// For routings that do not pass the challenge on: their caller cannot answer it.
    fn from(_: NotAuthorized) -> Reply {
        Reply::forbidden()
    }
}

/// The answers of one transaction.
#[derive(Debug)]
pub(super) struct Answering {
    /// Who has challenged.
    peer: IpAddr,
    sessions: Vec<Session>,
    rounds: u8,
    /// What is added to the number of the branches that follow; `None` when the call's dialog does.
    raised: Option<u32>,
}

impl Uac {
    /// Takes a failure's challenge; the next branch to the same peer carries the answer.
    pub(super) fn answer(
        &mut self,
        host: &mut impl Host<Uac>,
        transaction: ServerId,
        failed: &Failed,
        more: Option<Credential>,
    ) -> Result<(), NotAuthorized> {
        let (Some(message), Some(peer)) = (failed.response(), failed.source()) else {
            return Err(NotAuthorized::NoChallenge);
        };
        let challenges = challenge::read(message);
        if challenges.is_empty() {
            return Err(NotAuthorized::NoChallenge);
        }
        if failed.is_cancelled() {
            return Err(NotAuthorized::Over);
        }
        let attached = host.attached(transaction).ok_or(NotAuthorized::Over)?;
        let call = attached.call();
        // Those of this call come first.
        let own = call.credential.iter().chain(more.as_ref()).chain(&self.settings.credentials);
        let chosen = choose(challenges, own).ok_or(NotAuthorized::NoCredential)?;
        let peer = peer.remote.ip();
        // Another peer knows nothing of what was said to the one before.
        call.answering.take_if(|answering| answering.peer != peer);
        let raised = self.settings.raise_cseq.then_some(0);
        let empty = Answering { peer, sessions: Vec::new(), rounds: 0, raised };
        let answering = call.answering.get_or_insert(empty);
        if answering.rounds >= self.settings.rounds_max {
            return Err(NotAuthorized::Over);
        }
        let again = answering.sessions.iter().any(|session| session.is_of(&chosen.0));
        if again && !chosen.0.stale {
            return Err(NotAuthorized::Refused);
        }
        answering.rounds += 1;
        answering.raised = answering.raised.map(|raised| raised + 1);
        answering.sessions.retain(|session| !session.is_of(&chosen.0));
        let (high, low) = host.entropy().keys();
        let mut session = Session::new(chosen, cnonce([high, low]));
        self.counts.resume(&mut session);
        if let Some(answering) =
            host.attached(transaction).and_then(|attached| attached.call().answering.as_mut())
        {
            answering.sessions.push(session);
        }
        self.counters.challenges_answered += 1;
        Ok(())
    }

    /// The numbers are raised by the call's dialog.
    pub(super) fn leave_numbers(host: &mut impl Host<Uac>, transaction: ServerId) {
        if let Some(attached) = host.attached(transaction)
            && let Some(answering) = &mut attached.call().answering
        {
            answering.raised = None;
        }
    }

    /// Writes proofs and the raised number on a branch.
    pub(super) fn prove(
        &mut self,
        request: &Arrived<'_>,
        call: &mut Call,
        outgoing: &mut Outgoing<'_>,
    ) {
        let message = request.incoming.message();
        let peer = outgoing.flow.remote.ip();
        let shift = call.shift;
        let Some(answering) = call.answering.as_mut().filter(|answering| answering.peer == peer)
        else {
            return;
        };
        let body = outgoing.edits.new_body().unwrap_or_else(|| message.body()).to_vec();
        let method = message.method();
        let method = method.as_ref().map_or(&b""[..], |method| method.as_bytes());
        for session in &mut answering.sessions {
            let said = Said { method, uri: outgoing.request_uri, body: &body };
            let (name, value) = session.next(said);
            // With as many edits as there may be, the next hop challenges again.
            let _ = outgoing.edits.append(name.as_bytes(), &value);
            self.counts.note(session);
        }
        if let Some(raised) = answering.raised.filter(|raised| *raised > 0) {
            let total = shift.saturating_add(raised);
            shift_number(message, total, outgoing.edits);
            if message.to_tag().is_none() {
                self.remember_shift(message, total, outgoing.record_route_params);
            }
        }
    }

    /// Later requests of the caller carry numbers that are greater by as much.
    fn remember_shift(&self, message: Message<'_>, shift: u32, params: &mut Vec<u8>) {
        let Ok(call_id) = message.call_id() else { return };
        let mark = self.shift_mark(shift, call_id, message.from_tag().unwrap_or_default());
        params.extend_from_slice(format!(";{SHIFT_PARAM}={shift}.{mark}").as_bytes());
    }

    fn shift_mark(&self, shift: u32, call_id: &[u8], tag: &[u8]) -> String {
        let parts = [b"uac cseq", call_id, b"\n", tag, b"\n", &shift.to_be_bytes()];
        let hash = hmac(&self.secret, &parts);
        hash.iter().take(4).map(|byte| format!("{byte:02x}")).collect()
    }

    /// A request within a dialog whose first request was answered for: how much its numbers are
    /// greater on the other side.
    pub(super) fn shift_of(&self, message: Message<'_>, own: &Own<'_>) -> u32 {
        let Some(value) = own.shift else { return 0 };
        let parts = str::from_utf8(value).ok().and_then(|value| value.split_once('.'));
        let Some((shift, mark)) = parts else { return 0 };
        let Ok(shift) = shift.parse::<u32>() else { return 0 };
        let call_id = message.call_id().unwrap_or_default();
        // The callee's own numbers are its own; a forged mark moves nothing.
        let wanted = self.shift_mark(shift, call_id, message.from_tag().unwrap_or_default());
        if wanted == mark && shift <= SHIFT_MAX { shift } else { 0 }
    }
}

/// The parameter of Record-Route that says how much a caller's numbers are shifted.
pub(super) const SHIFT_PARAM: &str = "cs";
/// The greatest shift: `auth_rounds_max` is at most 10.
const SHIFT_MAX: u32 = 10;

/// Writes a number that is greater by `shift`; that of the INVITE which RAck names, too.
pub(super) fn shift_number(message: Message<'_>, shift: u32, edits: &mut Edits) {
    let Ok(cseq) = message.cseq() else { return };
    let number = cseq.number.wrapping_add(shift);
    let mut text = number.to_string().into_bytes();
    text.push(b' ');
    text.extend_from_slice(cseq.method.as_bytes());
    let _ = edits.replace(b"CSeq", 0, &text);
    let Some(rack) = message.header(HeaderName::RAck) else { return };
    if cseq.method.kind() != MethodKind::Prack {
        return;
    }
    let mut parts = rack.value.split(u8::is_ascii_whitespace).filter(|part| !part.is_empty());
    let (Some(response), Some(number), Some(method)) = (parts.next(), parts.next(), parts.next())
    else {
        return;
    };
    let number = str::from_utf8(number).ok().and_then(|text| text.parse::<u32>().ok());
    if let Some(number) = number {
        let number = number.wrapping_add(shift).to_string();
        let _ = edits.replace(b"RAck", 0, &[response, number.as_bytes(), method].join(&b' '));
    }
}

/// Puts the number back under which the request came.
pub(super) fn restore_number(message: Message<'_>, received: u32, edits: &mut Edits) {
    let Ok(cseq) = message.cseq() else { return };
    if cseq.number != received {
        let mut text = received.to_string().into_bytes();
        text.push(b' ');
        text.extend_from_slice(cseq.method.as_bytes());
        let _ = edits.replace(b"CSeq", 0, &text);
    }
}

/// Whether a status is a challenge.
pub(super) fn is_challenge(status: u16) -> bool {
    By::status(status).is_some()
}
