//! Calls of other modules, routings and operators: what is wanted from here on.
//!
//! For: checking a call, finding the owner of its record, putting the newest state in the place of
//! the one before.
//! Not here: sending it (`drive.rs`, `send.rs`).
//! Invariants: a call never waits for an answer; of several states that were not sent yet only the
//! last one is kept.

use super::api::{Ended, Kind, Mode, Publication, Refused, Report, Subscription, Taken, Wanted};
use super::package::Document;
use super::record::{Matter, ORPHANS_MAX, Publishing, Record, RecordId, Until, Waiter};
use super::series::Series;
use super::source::Source;
use super::write::{
    TEXT_BYTES_MAX, are_header_lines, is_content_type, is_writable_name, is_writable_uri,
};
use super::{Peer, Pua};
use strowger_sip::module::Host;
use strowger_sip::shard::ShardId;

/// A call and who made it.
struct Call<T> {
    what: T,
    series: Series,
    name: String,
    from: ShardId,
}

impl Pua {
    /// Publishes, changes, refreshes or removes a state (`send_publish`). The report that a cookie
    /// asks for follows unless the result says already what became of the call.
    ///
    /// # Errors
    /// When it cannot be published.
    pub fn send_publish(
        &mut self,
        host: &mut impl Host<Pua>,
        publication: Publication,
    ) -> Result<Taken, Refused> {
        self.check_publication(&publication)?;
        let series = Series::of_publication(&publication);
        let (name, from) = (series.name(), host.shard());
        let home = Series::home(host.map(), &name);
        if home != from {
            host.tell(home, Peer::Publish(Box::new(publication)));
            return Ok(Taken::Handed);
        }
        self.publish_here(host, Call { what: publication, series, name, from })
    }

    /// Begins, refreshes or ends a subscription (`send_subscribe`).
    ///
    /// # Errors
    /// When it cannot be made.
    pub fn send_subscribe(
        &mut self,
        host: &mut impl Host<Pua>,
        subscription: Subscription,
    ) -> Result<Taken, Refused> {
        self.check_subscription(&subscription)?;
        let series = Series::of_subscription(&subscription);
        let (name, from) = (series.name(), host.shard());
        let home = Series::home(host.map(), &name);
        if home != from {
            host.tell(home, Peer::Subscribe(Box::new(subscription)));
            return Ok(Taken::Handed);
        }
        self.subscribe_here(host, Call { what: subscription, series, name, from })
    }

    /// The same for a call whose maker only hears reports.
    pub(super) fn take_publication(
        &mut self,
        host: &mut impl Host<Pua>,
        from: ShardId,
        publication: Publication,
    ) {
        let series = Series::of_publication(&publication);
        let (cookie, source) = (publication.cookie, publication.source);
        let taken = if from == host.shard() {
            self.send_publish(host, publication)
        } else {
            let (name, series) = (series.name(), series.clone());
            self.publish_here(host, Call { what: publication, series, name, from })
        };
        self.report_taken(host, &series, (from, cookie, source), taken);
    }

    /// See [`Pua::take_publication`].
    pub(super) fn take_subscription(
        &mut self,
        host: &mut impl Host<Pua>,
        from: ShardId,
        subscription: Subscription,
    ) {
        let series = Series::of_subscription(&subscription);
        let (cookie, source) = (subscription.cookie, subscription.source);
        let taken = if from == host.shard() {
            self.send_subscribe(host, subscription)
        } else {
            let (name, series) = (series.name(), series.clone());
            self.subscribe_here(host, Call { what: subscription, series, name, from })
        };
        self.report_taken(host, &series, (from, cookie, source), taken);
    }

    fn report_taken(
        &mut self,
        host: &mut impl Host<Pua>,
        series: &Series,
        (shard, cookie, source): (ShardId, Option<u64>, Source),
        taken: Result<Taken, Refused>,
    ) {
        let ended = match taken {
            Ok(Taken::Accepted | Taken::Handed) => return,
            Ok(Taken::Nothing) => Ended::Nothing,
            Err(refused) => {
                self.counters.refused += 1;
                Ended::Refused(refused)
            }
        };
        if let Some(cookie) = cookie {
            self.report(host, series, &Waiter { shard, cookie, source }, ended);
        }
    }

    /// Tells a caller how its call ended, on its own shard.
    pub(super) fn report(
        &mut self,
        host: &mut impl Host<Pua>,
        series: &Series,
        waiter: &Waiter,
        ended: Ended,
    ) {
        let report = Report {
            kind: series.kind,
            source: waiter.source,
            event: series.event,
            presentity: series.presentity.to_string(),
            watcher: series.watcher.to_string(),
            id: series.id.to_string(),
            cookie: waiter.cookie,
            ended,
        };
        if waiter.shard == host.shard() {
            self.tell_report(host, report);
        } else {
            host.tell(waiter.shard, Peer::Report(Box::new(report)));
        }
    }

    fn check_publication(&self, publication: &Publication) -> Result<(), Refused> {
        let package = self.packages.get(publication.event).ok_or(Refused::UnknownEvent)?;
        let proxy = publication.outbound_proxy.as_deref();
        let type_ = publication.content_type.as_deref();
        let is_writable = is_writable_name(&publication.presentity)
            && publication.id.len() <= TEXT_BYTES_MAX
            && proxy.is_none_or(is_writable_uri)
            && type_.is_none_or(is_content_type)
            && are_header_lines(&publication.extra_headers);
        if !is_writable {
            return Err(Refused::Unwritable);
        }
        let Some(body) = publication.body.as_deref() else { return Ok(()) };
        if body.len() > self.settings.body_bytes_max {
            return Err(Refused::TooLong);
        }
        if std::str::from_utf8(body).is_err() || body.contains(&0) {
            return Err(Refused::BadBody);
        }
        if type_.or(package.content_type.as_deref()).is_none() {
            return Err(Refused::Unwritable);
        }
        let Some(process) = package.process.filter(|_| self.settings.counts(package.id)) else {
            return Ok(());
        };
        let document = Document { body, version: 0, tuple_id: None, fresh_id: "0" };
        process(&document).map(drop).map_err(|_| Refused::BadBody)
    }

    fn check_subscription(&self, subscription: &Subscription) -> Result<(), Refused> {
        self.packages.get(subscription.event).ok_or(Refused::UnknownEvent)?;
        let optional = [&subscription.remote_target, &subscription.outbound_proxy];
        let is_writable = [&subscription.presentity, &subscription.watcher, &subscription.contact]
            .into_iter()
            .chain(optional.into_iter().flatten())
            .all(|uri| is_writable_uri(uri))
            && subscription.id.len() <= TEXT_BYTES_MAX
            && are_header_lines(&subscription.extra_headers);
        if is_writable { Ok(()) } else { Err(Refused::Unwritable) }
    }

    fn publish_here(
        &mut self,
        host: &mut impl Host<Pua>,
        call: Call<Publication>,
    ) -> Result<Taken, Refused> {
        if let Some(waiting) = self.wake_record(host, &call.name)? {
            return self.queue(waiting, super::store::Queued::Publication(call.what, call.from));
        }
        self.publish_known(host, call)
    }

    /// A call has waited for its row, which is in memory if there is one.
    pub(super) fn publish_queued(
        &mut self,
        host: &mut impl Host<Pua>,
        publication: Publication,
        from: ShardId,
    ) {
        let series = Series::of_publication(&publication);
        let (cookie, source) = (publication.cookie, publication.source);
        let (name, its) = (series.name(), series.clone());
        let taken = self.publish_known(host, Call { what: publication, series: its, name, from });
        self.report_taken(host, &series, (from, cookie, source), taken);
    }

    fn publish_known(
        &mut self,
        host: &mut impl Host<Pua>,
        call: Call<Publication>,
    ) -> Result<Taken, Refused> {
        let id = self.table.named(&call.name);
        if let Some(etag) = &call.what.etag {
            let held = id.and_then(|id| self.table.get(id)).and_then(Record::held);
            if held.is_none_or(|held| *held.etag != **etag) {
                return Err(Refused::UnknownEtag);
            }
        }
        let is_gone = |record: &Record| record.until == Until::Gone;
        match (id, call.what.wanted) {
            (None, Wanted::Not) => return Ok(Taken::Nothing),
            (None, Wanted::Seconds(_) | Wanted::Forever) if call.what.body.is_none() => {
                return Err(Refused::NoBody);
            }
            (Some(id), Wanted::Seconds(_) | Wanted::Forever)
                if call.what.body.is_none()
                    && (call.what.mode == Mode::Insert
                        || self.table.get(id).is_some_and(is_gone)) =>
            {
                return Err(Refused::NoBody);
            }
            (_, _) => {}
        }
        let id = match id {
            Some(id) => id,
            None => {
                let matter = Matter::Publishing(Publishing::default());
                self.add(call.series.clone(), call.name.clone(), matter)?
            }
        };
        let waiter = waiter_of(call.from, call.what.cookie, call.what.source);
        self.supersede(host, id, waiter);
        let now = host.now();
        if let Some(record) = self.table.get_mut(id) {
            want_state(record, call.what, now);
        }
        self.changed(host, id);
        self.drive(host, id);
        Ok(Taken::Accepted)
    }

    fn subscribe_here(
        &mut self,
        host: &mut impl Host<Pua>,
        call: Call<Subscription>,
    ) -> Result<Taken, Refused> {
        let id = self.table.named(&call.name);
        match (id, call.what.wanted) {
            (None, Wanted::Not) => return Ok(Taken::Nothing),
            (Some(_), Wanted::Not) => {}
            (Some(_), Wanted::Seconds(_) | Wanted::Forever) if call.what.only_if_none => {
                return Ok(Taken::Nothing);
            }
            (_, Wanted::Seconds(_) | Wanted::Forever) => {}
        }
        let id = match id {
            Some(id) => id,
            None => {
                let matter = Matter::Subscribing(Box::default());
                self.add(call.series.clone(), call.name.clone(), matter)?
            }
        };
        let waiter = waiter_of(call.from, call.what.cookie, call.what.source);
        self.supersede(host, id, waiter);
        let (now, checks) = (host.now(), self.settings.check_remote_contact);
        if let Some(record) = self.table.get_mut(id)
            && let Some(forgotten) = want_dialog(record, call.what, now, checks)
        {
            self.table.forget_call(id, &forgotten);
        }
        self.changed(host, id);
        self.drive(host, id);
        Ok(Taken::Accepted)
    }

    pub(super) fn add(
        &mut self,
        series: Series,
        name: String,
        matter: Matter,
    ) -> Result<RecordId, Refused> {
        let id = self.table.insert(Record {
            series,
            name,
            until: Until::Gone,
            body: 0,
            life: 0,
            outbound_proxy: None,
            extra_headers: "".into(),
            matter,
            flight: None,
            waiter: None,
            pause: None,
            failures: 0,
            rebuilds: 0,
            timer: None,
            least_expires: 0,
            session: None,
            flights: 0,
            is_dirty: false,
            is_stored: false,
        });
        id.ok_or(Refused::Full)
    }

    /// A newer call takes the place of one that was not sent.
    fn supersede(&mut self, host: &mut impl Host<Pua>, id: RecordId, waiter: Option<Waiter>) {
        let Some(record) = self.table.get_mut(id) else { return };
        let before = std::mem::replace(&mut record.waiter, waiter);
        let Some(before) = before else { return };
        let series = record.series.clone();
        self.report(host, &series, &before, Ended::Superseded);
    }
}

fn waiter_of(shard: ShardId, cookie: Option<u64>, source: Source) -> Option<Waiter> {
    cookie.map(|cookie| Waiter { shard, cookie, source })
}

/// Puts what a call wants into its record.
fn want_state(record: &mut Record, call: Publication, now: strowger_sip::time::Instant) {
    let was_gone = record.until == Until::Gone;
    record.until = Until::of(call.wanted, now);
    if let Some(proxy) = call.outbound_proxy {
        record.outbound_proxy = Some(proxy.into());
    }
    if call.body.is_some() || !call.extra_headers.is_empty() {
        record.extra_headers = call.extra_headers.into();
    }
    let (is_insert, is_rpc) = (call.mode == Mode::Insert, is_operator(call.source));
    let until = record.until;
    let Matter::Publishing(publishing) = &mut record.matter else { return };
    if until == Until::Gone {
        // What is gone needs no room.
        publishing.body = None;
        record.body = record.body.wrapping_add(1);
        record.life = record.life.wrapping_add(1);
        return;
    }
    let Some(body) = call.body else {
        record.life = record.life.wrapping_add(1);
        return;
    };
    let content_type = call.content_type.map(String::into_boxed_str);
    let is_same = !was_gone
        && publishing.body.as_deref() == Some(body.as_slice())
        && publishing.content_type == content_type;
    if is_insert && let Some(held) = publishing.held.take() {
        if publishing.orphans.len() >= ORPHANS_MAX {
            // It ends by itself when its time is over.
            publishing.orphans.remove(0);
        }
        publishing.orphans.push(held.etag);
    }
    if !is_same || is_insert {
        publishing.body = Some(body.into_boxed_slice());
        publishing.content_type = content_type;
        record.body = record.body.wrapping_add(1);
        return;
    }
    let is_shorter = publishing.held.as_ref().is_some_and(|held| !until.is_after(held.until));
    if is_shorter || is_rpc {
        record.life = record.life.wrapping_add(1);
    }
}

fn is_operator(source: Source) -> bool {
    source == Source::RpcPublish || source == Source::RpcAsyncPublish
}

/// Puts what a call wants into its record; a Call-ID that no dialog of it has any longer.
fn want_dialog(
    record: &mut Record,
    call: Subscription,
    now: strowger_sip::time::Instant,
    checks_contact: bool,
) -> Option<String> {
    record.until = Until::of(call.wanted, now);
    record.life = record.life.wrapping_add(1);
    if record.until == Until::Gone {
        return None;
    }
    if let Some(proxy) = call.outbound_proxy {
        record.outbound_proxy = Some(proxy.into());
    }
    record.extra_headers = call.extra_headers.into();
    let is_flying = record.flight.is_some();
    let Matter::Subscribing(subscribing) = &mut record.matter else { return None };
    subscribing.is_refused = false;
    let target = call.remote_target.map(String::into_boxed_str);
    let is_other = subscribing.leg.as_ref().is_some_and(|leg| {
        checks_contact && target.as_deref().is_some_and(|target| target != leg.target)
    });
    subscribing.contact = call.contact.into();
    subscribing.remote_target = target;
    if (call.mode == Mode::Insert || is_other) && !is_flying {
        let before = std::mem::replace(&mut subscribing.former, subscribing.leg.take());
        return before.map(|leg| leg.call_id);
    }
    None
}

/// What the two kinds of record are called in reports and lists.
pub(super) const fn kind_name(kind: Kind) -> &'static str {
    match kind {
        Kind::Publication => "publication",
        Kind::Subscription => "subscription",
    }
}
