//! Probes: an OPTIONS to each destination, again and again, from the shard that owns it.
//!
//! For: when to send, what to send, what the answer means.
//! Not here: what the answer does to the state (`health.rs`), telling the other shards (`mod.rs`).
//! Invariants: each destination has at most one probe that counts; one that is not answered when
//! the next is due has failed. First probes are spread over an interval, so that a large list makes
//! no burst.

use super::destination::{Destination, DestinationId};
use super::health::Event;
use super::settings::Ping;
use super::{Dispatcher, Timer, Token};
use strowger_sip::module::{Heard, Host, Reach};
use strowger_sip::shard::{ShardId, ShardMap};
use strowger_sip::time::{Duration, secs};
use strowger_sip::transport::{ListenerId, Listeners};

/// How often a Call-ID that belongs to this shard is looked for; with 64 shards, one in 10^14
/// searches fails and leaves the probe to the next round.
const CALL_IDS_TRIED_MAX: usize = 2048;

/// How soon a probe is tried again that waits for DNS. A guess: most answers take less.
const DNS_AGAIN_AFTER: Duration = secs(1);

impl Dispatcher {
    /// The shard that probes a destination and decides about its state.
    pub(super) fn owner(map: ShardMap, id: DestinationId) -> ShardId {
        map.home(&id.octets())
    }

    /// Arms the first probe of every destination that this shard owns and that has none yet.
    pub(super) fn schedule(&mut self, host: &mut impl Host<Self>) {
        let Some(interval) = self.settings.ping.interval.filter(|_| self.ping_active) else {
            return;
        };
        let micros = u64::try_from(interval.as_micros()).unwrap_or(u64::MAX);
        let (map, own) = (host.map(), host.shard());
        for live in &mut self.lives.list {
            if live.probe.timer.is_none() && Dispatcher::owner(map, live.id) == own {
                let wait = Duration::from_micros(host.entropy().below(micros));
                let deadline = host.now() + wait;
                live.probe.timer = Some(host.arm(deadline, Timer::Probe(live.id)));
            }
        }
    }

    /// A destination's time has come.
    pub(super) fn probe_due(&mut self, host: &mut impl Host<Self>, id: DestinationId) {
        let Some(live) = self.lives.get_mut(id) else { return };
        live.probe.timer = None;
        let Some(interval) = self.settings.ping.interval.filter(|_| self.ping_active) else {
            return;
        };
        live.probe.timer = Some(host.arm(host.now() + interval, Timer::Probe(id)));
        if live.probe.pending.take().is_some() {
            self.probed(host, id, None);
        }
        let Some(live) = self.lives.get(id) else { return };
        if self.settings.ping.mode.wants(live.health.state()) && !host.is_draining() {
            self.send_probe(host, id);
        }
    }

    fn send_probe(&mut self, host: &mut impl Host<Self>, id: DestinationId) {
        let Some(member) = self.member(id) else { return };
        let destination = &member.destination;
        let attributes = &destination.attributes;
        let next_hop = attributes.obproxy.as_deref().unwrap_or(&destination.uri);
        let socket = attributes.ping_socket.as_deref().or(attributes.socket.as_deref());
        let from = socket.and_then(|text| listener(text, host.listeners()));
        let flow = match host.reach(next_hop.as_bytes(), from) {
            Reach::Over(flow) => flow,
            Reach::Nowhere => return self.unresolved(host, id),
            Reach::Unknown => return self.probe_soon(host, id),
        };
        let Some(call_id) = call_id(host) else { return };
        let tag = host.entropy().next_u64();
        let text = message(destination, &self.settings.ping, &call_id, tag);
        let now = host.now();
        let Some(live) = self.lives.get_mut(id) else { return };
        live.probe.number = live.probe.number.wrapping_add(1);
        let token = Token { id, number: live.probe.number };
        live.probe.pending = Some((token.number, now));
        self.counters.probes_sent += 1;
        let event = live.health.resolved(true);
        self.report(host, id, event);
        if host.originate(flow, text.as_bytes(), token).is_err() {
            // The table of transactions is full: that says nothing about the destination.
            if let Some(live) = self.lives.get_mut(id) {
                live.probe.pending = None;
            }
        }
    }

    /// DNS is being asked: the probe goes out when it has answered.
    fn probe_soon(&mut self, host: &mut impl Host<Self>, id: DestinationId) {
        let Some(live) = self.lives.get_mut(id) else { return };
        if let Some(timer) = live.probe.timer.take() {
            host.cancel(timer);
        }
        let interval = self.settings.ping.interval.unwrap_or(DNS_AGAIN_AFTER);
        let deadline = host.now() + DNS_AGAIN_AFTER.min(interval);
        live.probe.timer = Some(host.arm(deadline, Timer::Probe(id)));
    }

    /// Its name has no address, or nothing here reaches it.
    fn unresolved(&mut self, host: &mut impl Host<Self>, id: DestinationId) {
        self.counters.probes_unresolved += 1;
        let event = self.lives.get_mut(id).and_then(|live| live.health.resolved(false));
        self.report(host, id, event);
        self.share_state(host, id);
    }

    /// A probe was answered, or not.
    pub(super) fn probe_answered(
        &mut self,
        host: &mut impl Host<Self>,
        token: Token,
        answer: Heard<'_>,
    ) {
        let status = match answer {
            Heard::Response(message) => message.status(),
            Heard::Timeout | Heard::Transport => None,
        };
        if status.is_some_and(|status| !status.is_final()) {
            return;
        }
        let Some(live) = self.lives.get_mut(token.id) else { return };
        let Some((_, sent)) = live.probe.pending.take_if(|(number, _)| *number == token.number)
        else {
            return;
        };
        let codes = &self.settings.ping.reply_codes;
        let good = status.is_some_and(|status| status.is_success() || codes.contains(status));
        let span = host.now().since(sent);
        self.probed(host, token.id, good.then_some(span));
    }

    /// A probe ended; with an answer after so long, or without a good one.
    fn probed(&mut self, host: &mut impl Host<Self>, id: DestinationId, span: Option<Duration>) {
        let ping = &self.settings.ping;
        let Some(live) = self.lives.get_mut(id) else { return };
        match span {
            Some(span) if ping.latency_stats => live.latency.add(span, ping.latency_alpha),
            Some(_) => {}
            None => live.latency.timed_out(),
        }
        self.counters.probes_answered += u64::from(span.is_some());
        self.counters.probes_failed += u64::from(span.is_none());
        let event: Option<Event> = live.health.probed(span.is_some(), ping.mode, ping.thresholds);
        self.report(host, id, event);
        // Told after every probe, changed or not: a shard that missed a message learns it then.
        self.share_state(host, id);
    }
}

/// Finds the listener that `udp:192.0.2.1:5060` names.
pub(super) fn listener(text: &str, listeners: &Listeners) -> Option<ListenerId> {
    let (transport, address) = text.split_once(':')?;
    let found = listeners.iter().find(|(_, listener)| {
        listener.transport.uri_name().eq_ignore_ascii_case(transport)
            && listener.bound.to_string() == address
    });
    found.map(|(id, _)| id)
}

/// A Call-ID whose home is this shard, so that the answer comes here.
fn call_id(host: &mut impl Host<Dispatcher>) -> Option<String> {
    let (map, own) = (host.map(), host.shard());
    (0..CALL_IDS_TRIED_MAX)
        .map(|_| format!("{:016x}-ds", host.entropy().next_u64()))
        .find(|call_id| map.home(call_id.as_bytes()) == own)
}

/// The request but for its Via.
fn message(destination: &Destination, ping: &Ping, call_id: &str, tag: u64) -> String {
    let (uri, method) = (&destination.uri, &ping.method);
    let from = destination.attributes.ping_from.as_ref().unwrap_or(&ping.from);
    format!(
        "{method} {uri} SIP/2.0\r\n\
         To: <{uri}>\r\n\
         From: <{from}>;tag={tag:016x}\r\n\
         Call-ID: {call_id}\r\n\
         CSeq: 10 {method}\r\n\
         Max-Forwards: 70\r\n\
         Content-Length: 0\r\n\r\n"
    )
}
