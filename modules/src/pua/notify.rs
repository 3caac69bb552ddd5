//! NOTIFY: RFC 6665 §4.1.3.
//!
//! For: matching it to a subscription of this node, its order, what its Subscription-State leads
//! to, telling the module that subscribed, the answer.
//! Not here: what the document says.
//! Invariants: a NOTIFY that belongs to no subscription changes nothing; each is told once; it is
//! answered when everybody has heard it.

use super::api::{Dialog, Notified, Standing};
use super::drive::refresh_after;
use super::record::{Leg, RecordId};
use super::subscribe::{Order, route_set, target_of};
use super::{Peer, Pua};
use std::collections::VecDeque;
use std::rc::Rc;
use strowger_sip::engine::slots::ServerId;
use strowger_sip::message::{HeaderName, Message, MethodKind};
use strowger_sip::module::{Arrived, Host, Verdict};
use strowger_sip::routing::Reply;
use strowger_sip::shard::ShardId;
use strowger_sip::time::{Duration, Instant, secs};

/// How long the last NOTIFY of a dialog that was ended is awaited: timer N (RFC 6665 §4.1.2.4).
const LINGER: Duration = secs(32);
/// Most dialogs of which that is remembered. A guess.
const LINGERING_MAX: usize = 4096;
/// How long a subscription waits after `probation` or `giveup` without a retry-after. A guess.
const PROBATION: Duration = secs(60);

/// A NOTIFY, read once; also on its way to another shard.
#[derive(Clone, Debug)]
pub struct Notify {
    call_id: String,
    own_tag: String,
    peer_tag: String,
    cseq: u32,
    event: String,
    state: String,
    reason: Option<String>,
    retry_after: Option<u32>,
    expires: Option<u32>,
    target: Option<String>,
    routes: Option<String>,
    content_type: String,
    body: Vec<u8>,
}

/// Who waits for the answer to a NOTIFY.
#[derive(Clone, Copy, Debug)]
pub(super) struct Asker {
    pub(super) shard: ShardId,
    pub(super) transaction: ServerId,
}

/// Dialogs that were ended a moment ago.
#[derive(Debug, Default)]
pub(super) struct Lingering(VecDeque<(Instant, String)>);

impl Pua {
    /// Looks at every request: a NOTIFY of a subscription of this node is taken.
    pub(super) fn meet(&mut self, host: &mut impl Host<Pua>, request: &Arrived<'_>) -> Verdict {
        let message = request.incoming.message();
        let is_notify = message.method().is_some_and(|method| method.kind() == MethodKind::Notify);
        let Some(transaction) = request.transaction.filter(|_| is_notify) else {
            return Verdict::Continue;
        };
        let Ok(call_id) = message.call_id() else { return Verdict::Continue };
        let known = self.table.called(call_id);
        let elsewhere = std::str::from_utf8(call_id).ok().and_then(|it| self.elsewhere.get(it));
        if known.is_none() && elsewhere.is_none() {
            return self.stranger(host.now(), call_id);
        }
        let notify = match Notify::read(message) {
            Ok(notify) => notify,
            Err(status) => return Verdict::Reply(Reply::new(status)),
        };
        match (known, elsewhere.copied()) {
            (None, Some(owner)) => {
                host.tell(owner, Peer::Notify(Box::new(notify), transaction));
                Verdict::Taken
            }
            (_, _) => {
                let asker = Asker { shard: host.shard(), transaction };
                match self.notified(host, asker, notify) {
                    Ok(()) => Verdict::Taken,
                    Err(reply) => Verdict::Reply(reply),
                }
            }
        }
    }

    fn stranger(&mut self, now: Instant, call_id: &[u8]) -> Verdict {
        if self.lingering.has(now, call_id) {
            return Verdict::Reply(Reply::new(200));
        }
        Verdict::Continue
    }

    /// Remembers a dialog that has ended, for its last NOTIFY.
    pub(super) fn linger(&mut self, now: Instant, call_id: &str) {
        self.lingering.add(now, call_id);
    }

    /// A NOTIFY that came to another shard.
    pub(super) fn notified_elsewhere(
        &mut self,
        host: &mut impl Host<Pua>,
        asker: Asker,
        notify: Notify,
    ) {
        if let Err(reply) = self.notified(host, asker, notify) {
            host.tell(asker.shard, Peer::Reply(asker.transaction, Box::new(reply)));
        }
    }

    fn notified(
        &mut self,
        host: &mut impl Host<Pua>,
        asker: Asker,
        notify: Notify,
    ) -> Result<(), Reply> {
        let now = host.now();
        let none = || Reply::new(481);
        let Some(id) = self.table.called(notify.call_id.as_bytes()) else {
            // Another shard led here; the dialog ended meanwhile.
            let is_late = self.lingering.has(now, notify.call_id.as_bytes());
            return Err(if is_late { Reply::new(200) } else { none() });
        };
        let record = self.table.get(id).ok_or_else(none)?;
        let package = self.packages.get(record.series.event).ok_or_else(none)?;
        let name =
            |text: &str| text.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
        if name(&notify.event) != name(&package.name) {
            return Err(Reply::new(489));
        }
        let is_former = record.leg().is_none_or(|leg| leg.call_id != notify.call_id);
        if is_former {
            // It is being ended: what it says does not count any longer.
            return Err(Reply::new(200));
        }
        let leg = record.leg().ok_or_else(none)?;
        let is_ours = leg.own_tag == notify.own_tag
            && (!leg.is_established() || leg.peer_tag == notify.peer_tag);
        if !is_ours {
            return Err(none());
        }
        match leg.peer_cseq {
            Some(last) if notify.cseq < last => return Err(Reply::new(500)),
            Some(last) if notify.cseq == last => return Err(Reply::new(200)),
            Some(_) | None => {}
        }
        let subscription = Dialog {
            source: record.series.source,
            event: record.series.event,
            presentity: record.series.presentity.to_string(),
            watcher: record.series.watcher.to_string(),
            id: record.series.id.to_string(),
            call_id: notify.call_id.clone(),
        };
        self.counters.notifies += 1;
        let standing = self.stand(host, id, &notify);
        let notified =
            Rc::new(Notified::new(subscription, standing, notify.content_type, notify.body));
        host.publish(Rc::clone(&notified));
        self.unanswered.push((asker, notified));
        // Arrives when every listener has heard the event.
        let own = host.shard();
        host.tell(own, Peer::Close);
        Ok(())
    }

    /// Everybody has heard: the NOTIFYs are answered.
    pub(super) fn close(&mut self, host: &mut impl Host<Pua>) {
        for (asker, notified) in std::mem::take(&mut self.unanswered) {
            let reply = notified.take_answer().unwrap_or_else(|| Reply::new(200));
            if asker.shard == host.shard() {
                host.reply(asker.transaction, reply);
            } else {
                host.tell(asker.shard, Peer::Reply(asker.transaction, Box::new(reply)));
            }
        }
    }

    /// Takes what a NOTIFY says of its subscription.
    fn stand(&mut self, host: &mut impl Host<Pua>, id: RecordId, notify: &Notify) -> Standing {
        let now = host.now();
        let is_over = notify.state.eq_ignore_ascii_case("terminated");
        let granted = notify.expires.map(|seconds| Duration::from_secs(u64::from(seconds)));
        let refresh = granted.map(|it| refresh_after(it, |most| host.entropy().below(most)));
        let is_flying = self.table.get(id).is_some_and(|record| record.flight.is_some());
        if let Some(leg) = self.table.get_mut(id).and_then(|record| record.leg_mut()) {
            let is_first = !leg.is_established();
            take(leg, notify);
            if let (Some(granted), Some(refresh)) = (granted, refresh)
                && !is_over
                // A refresh under way says it better, and a NOTIFY may be older than its answer.
                && (is_first || (!is_flying && now + granted < leg.until))
            {
                leg.until = now + granted;
                leg.refresh_at = leg.refresh_at.min(now + refresh);
                if is_first {
                    leg.refresh_at = now + refresh;
                }
            }
        }
        let standing = if is_over {
            self.terminated(host, id, notify);
            Standing::Terminated(notify.reason.clone())
        } else if notify.state.eq_ignore_ascii_case("pending") {
            Standing::Pending
        } else {
            Standing::Active
        };
        self.changed(host, id);
        self.drive(host, id);
        standing
    }

    /// The notifier has ended the subscription (RFC 6665 §4.1.3).
    fn terminated(&mut self, host: &mut impl Host<Pua>, id: RecordId, notify: &Notify) {
        self.counters.terminated += 1;
        let now = host.now();
        let was_good =
            self.table.get(id).and_then(|record| record.leg()).is_some_and(|leg| leg.was_good(now));
        self.drop_held(now, id);
        let Some(record) = self.table.get_mut(id) else { return };
        // What is under way in the dialog ends with it; its answer is not waited for.
        if let Some(flight) = record.flight.take() {
            self.in_flight = self.in_flight.saturating_sub(1);
            record.waiter = record.waiter.take().or(flight.waiter);
        }
        let asked = notify.retry_after.map(|seconds| Duration::from_secs(u64::from(seconds)));
        let reason = notify.reason.as_deref().unwrap_or_default().to_ascii_lowercase();
        let wait = match reason.as_str() {
            "rejected" | "noresource" | "invariant" => {
                if let Some(subscribing) = record.subscribing_mut() {
                    subscribing.is_refused = true;
                }
                return;
            }
            "deactivated" | "timeout" => Duration::ZERO,
            "probation" | "giveup" => asked.unwrap_or(PROBATION),
            _ => asked.unwrap_or_default(),
        };
        if was_good {
            record.rebuilds = 0;
        }
        let _ = self.may_rebuild(now, id);
        if let Some(record) = self.table.get_mut(id) {
            record.pause = record.pause.max(Some(now + wait));
        }
    }
}

/// Takes the dialog's part of a NOTIFY.
fn take(leg: &mut Leg, notify: &Notify) {
    leg.peer_cseq = Some(notify.cseq);
    if !leg.is_established() {
        leg.peer_tag.clone_from(&notify.peer_tag);
        if let Some(routes) = &notify.routes {
            leg.routes.clone_from(routes);
        }
    }
    if let Some(target) = &notify.target {
        leg.target.clone_from(target);
    }
}

impl Notify {
    /// Reads a NOTIFY; the error is its status.
    fn read(message: Message<'_>) -> Result<Notify, u16> {
        let text = |bytes: &[u8]| std::str::from_utf8(bytes).map(str::to_owned).map_err(|_| 400u16);
        let header = |name| message.header(name).map(|field| text(field.value.trim_ascii()));
        let state = header(HeaderName::SubscriptionState).ok_or(400u16)??;
        let event = header(HeaderName::Event).ok_or(489u16)??;
        let mut parts = state.split(';').map(str::trim);
        let name = parts.next().unwrap_or_default().to_owned();
        let mut notify = Notify {
            call_id: text(message.call_id().map_err(|_| 400u16)?)?,
            own_tag: text(message.to_tag().ok_or(481u16)?)?,
            peer_tag: text(message.from_tag().ok_or(400u16)?)?,
            cseq: message.cseq().map_err(|_| 400u16)?.number,
            event,
            state: name,
            reason: None,
            retry_after: None,
            expires: None,
            target: target_of(message),
            routes: route_set(message.record_routes(), Order::Straight),
            content_type: header(HeaderName::ContentType).transpose()?.unwrap_or_default(),
            body: message.body().to_vec(),
        };
        if notify.peer_tag.len() > super::subscribe::TAG_BYTES_MAX {
            return Err(400);
        }
        for part in parts {
            let Some((name, value)) = part.split_once('=') else { continue };
            let value = value.trim();
            match name.trim().to_ascii_lowercase().as_str() {
                "reason" => notify.reason = Some(value.to_owned()),
                "retry-after" => notify.retry_after = value.parse().ok(),
                "expires" => notify.expires = value.parse().ok(),
                _ => {}
            }
        }
        Ok(notify)
    }
}

impl Lingering {
    fn add(&mut self, now: Instant, call_id: &str) {
        self.forget(now);
        if self.0.len() >= LINGERING_MAX {
            self.0.pop_front();
        }
        self.0.push_back((now + LINGER, call_id.to_owned()));
    }

    fn has(&mut self, now: Instant, call_id: &[u8]) -> bool {
        self.forget(now);
        self.0.iter().any(|(_, known)| known.as_bytes() == call_id)
    }

    fn forget(&mut self, now: Instant) {
        while self.0.front().is_some_and(|(end, _)| *end <= now) {
            self.0.pop_front();
        }
    }
}
