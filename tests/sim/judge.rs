//! What the node owes its peers, checked at every message that it takes or sends.
//!
//! For: RFC 3261 §16 and §17 as an observer outside of the node can see them: one final answer to a
//! request, losers of a fork cancelled, ACKs, no branch after the end, one home for a call.
//! Not here: what a whole call should have come to (`world.rs`).
//! Invariants: it never looks into the node; what the adversary does creates no duty.

use crate::adversary::Knowledge;
use crate::mail::{Mail, Reading, word};
use crate::node;
use crate::record::{Downstream, Upstream};
use std::collections::BTreeMap;
use std::net::SocketAddr;
use strowger_sip::engine::Census;
use strowger_sip::message::{MethodKind, scan_call_id};
use strowger_sip::shard::{ShardId, ShardMap};
use strowger_sip::time::{Duration, Instant, ms};

/// A broken promise.
#[derive(Clone, Debug)]
pub(crate) struct Fault {
    pub(crate) call_id: String,
    pub(crate) what: String,
}

/// What has to leave the node during the call that makes it due.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Duty {
    /// An ACK on this branch (§17.1.1.3).
    Ack(String),
    /// A 2xx with this To tag, upstream (§16.7 step 5).
    Success(Key, String),
    /// An answer to a CANCEL (§9.2).
    Answer(Key),
    /// An ACK to a 2xx, end to end.
    Forward(Key),
}

/// A request that the node received: the branch that its sender gave it, and its method.
pub(crate) type Key = (String, &'static str);

fn key(branch: &str, method: MethodKind) -> Key {
    (branch.to_owned(), word(method))
}

/// The observer.
pub(crate) struct Judge {
    map: ShardMap,
    /// With an adversary about, some of what the node does has causes that are not followed; with
    /// one that sees everything, none of it has a cause that can be told.
    knowledge: Knowledge,
    /// The longest that the node takes to answer an INVITE, its pauses included.
    patience: Duration,
    upstream: BTreeMap<Key, Upstream>,
    downstream: BTreeMap<String, Downstream>,
    duties: Vec<(String, Duty)>,
    touched: Option<Key>,
    /// Client transactions that the node has started.
    clients: usize,
    pub(crate) faults: Vec<Fault>,
}

impl Judge {
    /// An observer of a node with this map.
    pub(crate) fn new(map: ShardMap, knowledge: Knowledge, patience: Duration) -> Judge {
        Judge {
            map,
            knowledge,
            patience,
            upstream: BTreeMap::new(),
            downstream: BTreeMap::new(),
            duties: Vec::new(),
            touched: None,
            clients: 0,
            faults: Vec::new(),
        }
    }

    /// The node's tables hold no more than what came in and went out.
    pub(crate) fn compare(&mut self, census: &Census, datagrams: u64) {
        let (servers, clients) = match self.knowledge {
            Knowledge::Absent => (self.upstream.len(), self.clients),
            Knowledge::Blind | Knowledge::OnPath => {
                let most = usize::try_from(datagrams).unwrap_or(usize::MAX);
                (most, most * 4)
            }
        };
        let timers = census.server_transactions
            + census.client_transactions
            + 2 * census.contexts
            + census.module_objects;
        let holds = census.server_transactions <= servers
            && census.client_transactions <= clients
            && census.contexts <= servers
            && census.waiting_routings <= census.contexts
            && census.timers <= timers
            // Each has its lifetime.
            && census.contexts <= census.timers;
        if !holds {
            let what = format!("{census:?} after {servers} requests and {clients} branches");
            self.faults.push(Fault { call_id: String::new(), what });
        }
    }

    /// When nothing is left on the node because of what was seen.
    pub(crate) fn state_expires(&self) -> Instant {
        let upstream = self.upstream.values().map(Upstream::expires);
        let downstream = self.downstream.values().map(Downstream::expires);
        upstream.chain(downstream).max().unwrap_or(Instant::START)
    }

    pub(crate) fn fault(&mut self, read: &Reading, what: impl Into<String>) {
        self.faults.push(Fault { call_id: read.call_id.clone(), what: what.into() });
    }

    /// The node is about to take a message.
    pub(crate) fn arrives(&mut self, now: Instant, from: SocketAddr, mail: &Mail) {
        let Some(read) = mail.read.as_ref().filter(|_| !mail.hostile) else { return };
        let is_followed = match self.knowledge {
            Knowledge::Absent => true,
            // What the node sends to itself, the adversary has led round in a circle.
            Knowledge::Blind => from != node::address(),
            Knowledge::OnPath => false,
        };
        if !is_followed {
            return;
        }
        match read.status {
            Some(status) => self.response_arrives(now, read, status),
            None => self.request_arrives(now, from, read),
        }
    }

    fn request_arrives(&mut self, now: Instant, from: SocketAddr, read: &Reading) {
        let key = key(read.branch(), read.method);
        let invite = self::key(read.branch(), MethodKind::Invite);
        let is_for_node = read.request_uri.starts_with("sip:own");
        if read.method == MethodKind::Ack && !is_for_node && !self.upstream.contains_key(&invite) {
            self.owe(read, Duty::Forward(key.clone()));
        }
        if read.method == MethodKind::Cancel {
            self.owe(read, Duty::Answer(key.clone()));
            if let Some(invite) = self.upstream.get_mut(&invite) {
                invite.cancelled(now);
            }
            self.touched = Some(invite);
        }
        let new = || Upstream::new(now, from, read);
        self.upstream.entry(key).or_insert_with(new);
    }

    fn owe(&mut self, read: &Reading, duty: Duty) {
        self.duties.push((read.call_id.clone(), duty));
    }

    fn response_arrives(&mut self, now: Instant, read: &Reading, status: u16) {
        let Some(down) = self.downstream.get_mut(read.branch()) else { return };
        if down.method != read.method {
            return;
        }
        let was_live = down.is_live(now);
        down.hears(now, status);
        let key = down.upstream.clone();
        let is_invite = down.method == MethodKind::Invite;
        if was_live && is_invite && status >= 300 && !down.has_succeeded {
            self.owe(read, Duty::Ack(read.branch().to_owned()));
        }
        if is_invite
            && (200..300).contains(&status)
            && let Some(up) = self.upstream.get_mut(&key)
        {
            up.tags.insert(read.to_tag.clone());
            if was_live && up.is_live(now) {
                self.owe(read, Duty::Success(key.clone(), read.to_tag.clone()));
            }
        }
        self.touched = Some(key);
    }

    /// The node has sent a message.
    pub(crate) fn departs(&mut self, now: Instant, shard: ShardId, to: SocketAddr, mail: &Mail) {
        let Some(read) = &mail.read else {
            // The answer to a broken request repeats what is broken of it.
            if self.knowledge == Knowledge::Absent {
                let what = format!("the node sent no message: {mail}");
                self.faults.push(Fault { call_id: String::new(), what });
            }
            return;
        };
        let home = scan_call_id(&mail.bytes).map(|call_id| self.map.home(call_id));
        // A Call-ID with octets that do not belong there is cleaned in the answer that refuses it.
        let is_refusal = matches!(read.status, Some(400 | 414 | 505 | 513))
            && self.knowledge != Knowledge::Absent;
        if home != Some(shard) && !is_refusal {
            let what = format!("{mail} left shard {}, its home is {home:?}", shard.0);
            self.faults.push(Fault { call_id: mail.call_id().to_owned(), what });
        }
        if self.knowledge == Knowledge::OnPath {
            return;
        }
        match read.status {
            Some(status) => self.response_departs(now, to, (mail, read), status),
            None => self.request_departs(now, to, (mail, read)),
        }
    }

    fn response_departs(
        &mut self,
        now: Instant,
        to: SocketAddr,
        (mail, read): (&Mail, &Reading),
        status: u16,
    ) {
        let key = key(read.branch(), read.method);
        let answer = Duty::Answer(key.clone());
        let success = Duty::Success(key.clone(), read.to_tag.clone());
        self.duties.retain(|(_, duty)| *duty != answer && *duty != success);
        let Some(up) = self.upstream.get_mut(&key) else {
            if self.knowledge == Knowledge::Absent {
                self.fault(read, format!("{status} answers no request"));
            }
            return;
        };
        let complaint = if up.from == to {
            up.answered(now, status, &read.to_tag, &mail.bytes).err()
        } else {
            Some(format!("{status} went to {to}, not to {}", up.from))
        };
        if let Some(what) = complaint {
            self.fault(read, what);
        }
        self.touched = Some(key);
    }

    fn request_departs(&mut self, now: Instant, to: SocketAddr, (mail, read): (&Mail, &Reading)) {
        let complaint = match (read.method, self.downstream.get_mut(read.branch())) {
            (MethodKind::Ack, Some(down)) => {
                let duty = Duty::Ack(read.branch().to_owned());
                self.duties.retain(|(_, other)| *other != duty);
                down.acknowledged(to)
            }
            (MethodKind::Cancel, Some(down)) => {
                self.clients += usize::from(!down.is_cancelled());
                down.cancelled(now, to)
            }
            (MethodKind::Cancel, None) if self.knowledge == Knowledge::Absent => {
                Err("CANCEL of nothing".to_owned())
            }
            (MethodKind::Cancel, None) => Ok(()),
            (_, Some(down)) => down.repeated(now, &mail.bytes),
            (_, None) => self.branch_departs(now, to, mail, read),
        };
        if let Err(what) = complaint {
            self.fault(read, what);
        }
    }

    fn branch_departs(
        &mut self,
        now: Instant,
        to: SocketAddr,
        mail: &Mail,
        read: &Reading,
    ) -> Result<(), String> {
        let key = key(read.branch_before().unwrap_or(""), read.method);
        let duty = Duty::Forward(key.clone());
        self.duties.retain(|(_, other)| *other != duty);
        let Some(up) = self.upstream.get_mut(&key) else {
            let what = format!("{:?} forwards no request", read.method);
            return if self.knowledge != Knowledge::Absent { Ok(()) } else { Err(what) };
        };
        up.forwarded(read)?;
        if read.method == MethodKind::Ack {
            return Ok(());
        }
        self.clients += 1;
        up.branches.push(read.branch().to_owned());
        let down = Downstream::new(now, to, key, (mail, read));
        self.downstream.insert(read.branch().to_owned(), down);
        Ok(())
    }

    /// The node's call is over: what was due in it has happened.
    pub(crate) fn settled(&mut self, now: Instant) {
        for (call_id, duty) in std::mem::take(&mut self.duties) {
            self.faults.push(Fault { call_id, what: format!("did not happen: {duty:?}") });
        }
        let Some(up) = self.touched.take().and_then(|key| self.upstream.get(&key)) else { return };
        if !up.is_done() {
            return;
        }
        for branch in &up.branches {
            let Some(down) = self.downstream.get(branch) else { continue };
            if down.is_forgotten_loser(now) {
                let what = format!("nobody cancels branch {branch} to {}", down.to);
                self.faults.push(Fault { call_id: up.call_id.clone(), what });
            }
        }
    }

    /// Whether a request could not be answered because another party did not.
    fn is_unanswered(&self, up: &Upstream) -> bool {
        let in_vain =
            |branch| self.downstream.get(branch).is_some_and(|down| !down.is_answered_in_time());
        // The adversary's own calls lead to names that nobody resolves.
        let lost = self.knowledge != Knowledge::Absent && up.branches.is_empty();
        lost || up.routing_waits || up.branches.iter().any(in_vain)
    }

    /// The run is over and nothing is under way.
    pub(crate) fn end(&mut self) {
        let mut faults = Vec::new();
        for ((branch, method), up) in &self.upstream {
            let late = up.answered_after().is_some_and(|span| span > self.patience + ms(1));
            let what = match (method, up.answered_after()) {
                (&"ACK", _) => continue,
                (_, None) if up.is_silenced => continue,
                // RFC 4320 §4.2: where nobody has answered in time, nothing is said.
                (other, None) if *other != "INVITE" && self.is_unanswered(up) => continue,
                (_, None) => format!("{method} {branch} has no final answer"),
                (&"INVITE", Some(span)) if late => format!("answered after {span:?}"),
                (_, Some(_)) => continue,
            };
            faults.push(Fault { call_id: up.call_id.clone(), what });
        }
        for (branch, down) in &self.downstream {
            if let Err(what) = down.end() {
                let call_id = down.call_id.clone();
                faults.push(Fault { call_id, what: format!("branch {branch}: {what}") });
            }
        }
        self.faults.append(&mut faults);
    }
}
