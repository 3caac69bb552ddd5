//! The observer's account of one transaction: a request that the node received, or one that it
//! sent.
//!
//! For: the rules that a single transaction can break.
//! Not here: rules between transactions (`judge.rs`).

use crate::judge::Key;
use crate::mail::{Mail, Reading};
use std::collections::BTreeSet;
use std::net::SocketAddr;
use strowger_sip::message::MethodKind;
use strowger_sip::time::{Duration, Instant, ms, secs};

/// Timers B and F of the node, and how long it waits for the effect of a CANCEL.
const NO_RESPONSE: Duration = secs(30);
/// Timers D, J, L and M.
const LINGER: Duration = secs(32);
/// When timer E of the sender has reached T2: 500, 1000 and 2000 ms.
const SLOW: Duration = ms(3_500);
/// The longest that a routing may last, and the module's timer in `policy.rs`.
const LIFETIME: Duration = secs(180);
const MODULE_TIMER: Duration = secs(3);
/// How long a branch that timed out still hears a late answer.
const LATE: Duration = secs(5);
/// T4: timer I.
const T4: Duration = secs(5);

/// A request that the node received.
#[derive(Debug)]
pub(crate) struct Upstream {
    method: MethodKind,
    pub(crate) call_id: String,
    pub(crate) from: SocketAddr,
    at: Instant,
    /// The routing drops it by intent.
    pub(crate) is_silenced: bool,
    cancelled: Option<Instant>,
    /// The final response other than 2xx to INVITE, as it was sent.
    negative: Option<(Instant, Vec<u8>)>,
    /// When the first 2xx was sent.
    success: Option<Instant>,
    /// To tags of 2xx that came from downstream.
    pub(crate) tags: BTreeSet<String>,
    is_for_node: bool,
    /// Its routing waits for other things than answers.
    pub(crate) routing_waits: bool,
    pub(crate) branches: Vec<String>,
    max_forwards: Option<u32>,
}

impl Upstream {
    pub(crate) fn new(at: Instant, from: SocketAddr, read: &Reading) -> Upstream {
        Upstream {
            method: read.method,
            call_id: read.call_id.clone(),
            from,
            at,
            is_silenced: read.request_uri.starts_with("sip:silence")
                && read.method != MethodKind::Cancel,
            cancelled: None,
            negative: None,
            success: None,
            tags: BTreeSet::new(),
            is_for_node: read.request_uri.starts_with("sip:own"),
            routing_waits: ["sip:hold", "sip:after", "sip:pause"]
                .iter()
                .any(|start| read.request_uri.starts_with(start)),
            branches: Vec::new(),
            max_forwards: read.max_forwards,
        }
    }

    fn final_at(&self) -> Option<Instant> {
        match (self.success, &self.negative) {
            (Some(success), Some((negative, _))) => Some(success.min(*negative)),
            (success, negative) => success.or(negative.as_ref().map(|(at, _)| *at)),
        }
    }

    /// Whether its branches are not wanted any more.
    pub(crate) fn is_done(&self) -> bool {
        self.final_at().is_some() || self.cancelled.is_some()
    }

    /// Whether its server transaction is there for sure.
    pub(crate) fn is_live(&self, now: Instant) -> bool {
        match (self.success, &self.negative) {
            (_, Some((at, _))) => now < *at + T4,
            (Some(at), None) => now < at + LINGER,
            (None, None) => !self.is_silenced,
        }
    }

    /// A CANCEL for it came in.
    pub(crate) fn cancelled(&mut self, now: Instant) {
        if self.final_at().is_none() {
            self.cancelled.get_or_insert(now);
        }
    }

    /// When nothing is left of it.
    pub(crate) fn expires(&self) -> Instant {
        let at = self.at + MODULE_TIMER;
        let ended = match (self.success, &self.negative) {
            (success, Some((negative, _))) => {
                (*negative + NO_RESPONSE).max(success.unwrap_or(*negative) + LINGER)
            }
            (Some(success), None) => success + LINGER,
            (None, None) if self.method == MethodKind::Ack || self.is_silenced => at,
            (None, None) => self.at + LIFETIME,
        };
        let waits = if self.routing_waits { self.at + LIFETIME } else { at };
        ended.max(waits)
    }

    pub(crate) fn answered_after(&self) -> Option<Duration> {
        self.final_at().map(|at| at.since(self.at))
    }

    /// The node has sent a response to it.
    pub(crate) fn answered(
        &mut self,
        now: Instant,
        status: u16,
        tag: &str,
        bytes: &[u8],
    ) -> Result<(), String> {
        let is_invite = self.method == MethodKind::Invite;
        if self.is_silenced && status != 100 {
            return Err(format!("{status}, although the routing drops it"));
        }
        if status < 200 {
            return match (is_invite, self.final_at()) {
                (true, None) => Ok(()),
                // RFC 4320 §4.1: 100 when the caller's own pace has slowed down, or nothing.
                (false, None) if status == 100 && now.since(self.at) >= SLOW => Ok(()),
                (false, None) => Err(format!("{status} to a request other than INVITE")),
                (true | false, Some(_)) => Err(format!("{status} after the final response")),
            };
        }
        if is_invite && status < 300 {
            self.success.get_or_insert(now);
            let known = self.tags.contains(tag) || self.is_for_node;
            return if known { Ok(()) } else { Err(format!("nobody sent a 2xx with tag {tag}")) };
        }
        if self.success.is_some() {
            return Err(format!("{status} after a 2xx"));
        }
        match &self.negative {
            None => self.negative = Some((now, bytes.to_vec())),
            Some((_, before)) if before == bytes => {}
            Some((_, before)) => {
                let before = before.escape_ascii();
                return Err(format!("a second final response, {status}; the first: {before}"));
            }
        }
        Ok(())
    }

    /// The node has sent it on, on a new branch.
    pub(crate) fn forwarded(&self, read: &Reading) -> Result<(), String> {
        if read.max_forwards != self.max_forwards.map(|hops| hops - 1) {
            return Err(format!("Max-Forwards is {:?}", read.max_forwards));
        }
        if self.final_at().is_some() {
            return Err("a branch after the final response".to_owned());
        }
        if self.cancelled.is_some() {
            return Err("a branch after CANCEL".to_owned());
        }
        Ok(())
    }
}

/// A request that the node sent.
#[derive(Debug)]
pub(crate) struct Downstream {
    pub(crate) method: MethodKind,
    pub(crate) call_id: String,
    pub(crate) to: SocketAddr,
    pub(crate) upstream: Key,
    bytes: Vec<u8>,
    at: Instant,
    rang: Option<Instant>,
    /// It rang while its transaction was there for sure.
    rang_in_time: bool,
    ended: Option<Instant>,
    /// Its final response came when its transaction may have been gone; copies find none either.
    is_late: bool,
    pub(crate) has_succeeded: bool,
    has_failed: bool,
    cancelled: Option<Instant>,
}

impl Downstream {
    pub(crate) fn new(
        at: Instant,
        to: SocketAddr,
        upstream: Key,
        (mail, read): (&Mail, &Reading),
    ) -> Downstream {
        Downstream {
            method: read.method,
            call_id: read.call_id.clone(),
            to,
            upstream,
            bytes: mail.bytes.clone(),
            at,
            rang: None,
            rang_in_time: false,
            ended: None,
            is_late: false,
            has_succeeded: false,
            has_failed: false,
            cancelled: None,
        }
    }

    /// Whether a CANCEL was sent for it.
    pub(crate) fn is_cancelled(&self) -> bool {
        self.cancelled.is_some()
    }

    /// Whether its final response came before the node gave up, for sure.
    pub(crate) fn is_answered_in_time(&self) -> bool {
        self.ended.is_some_and(|ended| ended < self.at + NO_RESPONSE)
    }

    /// Whether its client transaction is there for sure.
    pub(crate) fn is_live(&self, now: Instant) -> bool {
        match (self.ended, self.cancelled, self.rang) {
            (Some(_), _, _) if self.is_late => false,
            (Some(ended), _, _) => now < ended + LINGER && self.method == MethodKind::Invite,
            (None, Some(cancelled), _) => now < cancelled + NO_RESPONSE,
            (None, None, Some(_)) if self.method == MethodKind::Invite => true,
            (None, None, _) => now < self.at + NO_RESPONSE,
        }
    }

    /// When nothing is left of it, and of its CANCEL.
    pub(crate) fn expires(&self) -> Instant {
        let ended = match (self.ended, self.rang) {
            (Some(ended), _) => ended + LINGER,
            (None, Some(_)) if self.method == MethodKind::Invite => self.at + LIFETIME,
            (None, _) => self.at + NO_RESPONSE + LATE,
        };
        self.cancelled.map_or(ended, |at| ended.max(at + NO_RESPONSE + LATE))
    }

    /// A response came.
    pub(crate) fn hears(&mut self, now: Instant, status: u16) {
        if status < 200 {
            self.rang_in_time |= self.is_live(now) && self.ended.is_none();
            self.rang.get_or_insert(now);
            return;
        }
        self.is_late |= self.ended.is_none() && !self.is_live(now);
        self.ended.get_or_insert(now);
        self.has_succeeded |= status < 300;
        self.has_failed |= status >= 300;
    }

    /// The node has sent it again.
    pub(crate) fn repeated(&self, now: Instant, bytes: &[u8]) -> Result<(), String> {
        if self.bytes != bytes {
            return Err("a branch changed when it was repeated".to_owned());
        }
        if let Some(ended) = self.ended {
            return Err(format!("repeated after its final response at {ended:?}"));
        }
        match self.rang {
            Some(at) if self.method == MethodKind::Invite => {
                Err(format!("repeated after its provisional response at {at:?}"))
            }
            Some(_) | None if now >= self.at + NO_RESPONSE + secs(1) => {
                Err("repeated for too long".to_owned())
            }
            Some(_) | None => Ok(()),
        }
    }

    /// The node has sent an ACK on this branch.
    pub(crate) fn acknowledged(&self, to: SocketAddr) -> Result<(), String> {
        match (self.has_failed, to == self.to) {
            (true, true) => Ok(()),
            (true, false) => Err(format!("ACK to {to}, INVITE to {}", self.to)),
            (false, _) => Err("ACK without a final response".to_owned()),
        }
    }

    /// The node has sent a CANCEL for it, or sent that again.
    pub(crate) fn cancelled(&mut self, now: Instant, to: SocketAddr) -> Result<(), String> {
        let is_first = self.cancelled.is_none();
        self.cancelled.get_or_insert(now);
        if to != self.to {
            return Err(format!("CANCEL to {to}, INVITE to {}", self.to));
        }
        match (self.rang, self.ended) {
            (None, _) => Err("CANCEL before a provisional response (§9.1)".to_owned()),
            (Some(_), Some(_)) if is_first => Err("CANCEL after the final response".to_owned()),
            (Some(_), _) => Ok(()),
        }
    }

    /// Whether it rings, is not wanted, and has not been cancelled.
    pub(crate) fn is_forgotten_loser(&self, now: Instant) -> bool {
        self.rings_uncancelled() && self.is_live(now)
    }

    fn rings_uncancelled(&self) -> bool {
        let rings = self.rang_in_time && self.ended.is_none();
        rings && self.cancelled.is_none() && self.method == MethodKind::Invite
    }

    /// What is wrong when all is over.
    pub(crate) fn end(&self) -> Result<(), String> {
        if self.rings_uncancelled() {
            return Err(format!("rings at {} for ever", self.to));
        }
        Ok(())
    }
}
