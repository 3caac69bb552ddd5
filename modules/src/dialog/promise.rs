//! An answer that waits until storage knows of its call: `db_mode` 1.
//!
//! For: what the caller hears holds. With `db_mode` 1 a 2xx says that the call survives this
//! process, with its limits and its deadline; so the rows are durable before the 2xx goes upstream.
//! The rule when storage refuses, or says nothing in time (`when_refused`):
//! - `refuse`: the caller gets 503 with Retry-After, the callee an ACK and a BYE; the dialog has
//!   failed with 503, and never started. For a while after that new calls of this shard get their
//!   503 before anybody's phone rings, so that few are answered in vain while the database is
//!   away; each shard finds out by itself. What goes on already is not touched.
//! - `relay`: the 2xx goes upstream, later; the row is written when storage is back. For who would
//!   rather forget a call than refuse it.
//!
//! Not promised, and counted: an answer that this node gives itself, one whose values do not fit
//! their columns, one too many. They go upstream at once.
//! Not here: what a row holds (`row.rs`), holding a response (`strowger_sip::held`).
//! Invariants: the dialog starts when its answer goes upstream; a promise ends once: by storage,
//! by its timer, or because the call is over first.

use super::limits::{PROMISES_MAX, STORAGE_PATIENCE, STORAGE_PAUSE};
use super::record::{Flags, Side};
use super::settings::{DbMode, WhenRefused};
use super::table::DialogId;
use super::{Dialog, DialogEventKind, Timer};
use strowger_sip::engine::slots::ServerId;
use strowger_sip::held::HeldId;
use strowger_sip::message::StatusCode;
use strowger_sip::module::Host;
use strowger_sip::routing::Reply;
use strowger_sip::storage::{Haste, Outcome, Ticket};
use strowger_sip::time::Instant;
use strowger_sip::transaction::Id;
use strowger_sip::wheel::TimerId;

/// Marks ids of promises.
#[derive(Debug)]
pub enum PromiseMark {}

/// Names an answer that waits for storage; the tickets of its rows carry the number.
pub(super) type PromiseId = Id<PromiseMark>;

/// What a caller is told to wait, in seconds.
const RETRY_AFTER_SECONDS: u32 = 5;

/// An answer that waits for storage.
#[derive(Debug)]
pub(super) struct Promise {
    dialog: DialogId,
    held: HeldId,
    transaction: ServerId,
    rows_left: usize,
    timer: TimerId,
}

impl Dialog {
    /// Writes an answered call and keeps its 2xx until that is durable; `false` when there is
    /// nothing to promise, or nothing that could be.
    pub(super) fn promise(
        &mut self,
        host: &mut impl Host<Dialog>,
        id: DialogId,
        transaction: ServerId,
    ) -> bool {
        if self.settings.database.mode != DbMode::Realtime {
            return false;
        }
        let Some(record) = self.table.get(id) else { return false };
        let fits = self.row_of(host, record).fits()
            && self.variable_rows(id).iter().all(super::row::VariableRow::fits);
        let has_room = self.promises.len() < PROMISES_MAX;
        let held = (fits && has_room).then(|| host.hold(transaction)).flatten();
        let Some(held) = held else {
            self.counters.unpromised += 1;
            return false;
        };
        let until = host.now() + STORAGE_PATIENCE;
        let made = self.promises.insert_with(|own| {
            let timer = host.arm(until, Timer::Promise(own));
            Promise { dialog: id, held, transaction, rows_left: 0, timer }
        });
        let Some(own) = made else { return false };
        if let Some(record) = self.table.get_mut(id) {
            record.extra.get_or_insert_default().promise = Some(own);
        }
        let rows = self.write(host, id, Haste::Now, Some(Ticket(own.as_u64())));
        if let Some(promise) = self.promises.get_mut(own) {
            promise.rows_left = rows;
        }
        true
    }

    /// Storage has ended one of the orders that somebody waits for.
    pub(super) fn settled(
        &mut self,
        host: &mut impl Host<Dialog>,
        ticket: Ticket,
        outcome: Outcome,
    ) {
        let id = PromiseId::from_u64(ticket.0);
        let Some(promise) = self.promises.get_mut(id) else { return };
        promise.rows_left = promise.rows_left.saturating_sub(1);
        match outcome {
            Outcome::Refused => self.break_promise(host, id),
            Outcome::Durable if promise.rows_left == 0 => self.go_on(host, id),
            Outcome::Durable => {}
        }
    }

    /// Storage has not answered in time: as if it had refused.
    pub(super) fn storage_is_silent(&mut self, host: &mut impl Host<Dialog>, id: PromiseId) {
        self.break_promise(host, id);
    }

    /// Whether storage has refused so lately that a new call would be refused, too.
    pub(super) fn is_storage_shy(&self, now: Instant) -> bool {
        self.store.refused.is_some_and(|refused| now.since(refused) < STORAGE_PAUSE)
    }

    /// The answer goes upstream.
    fn go_on(&mut self, host: &mut impl Host<Dialog>, id: PromiseId) {
        let Some(promise) = self.end_promise(host, id) else { return };
        host.release(promise.held);
        self.tell(host, promise.dialog, DialogEventKind::Start);
    }

    fn break_promise(&mut self, host: &mut impl Host<Dialog>, id: PromiseId) {
        self.counters.not_durable += u64::from(self.promises.contains(id));
        match self.settings.database.when_refused {
            WhenRefused::Relay => self.go_on(host, id),
            WhenRefused::Refuse => {
                let Some(promise) = self.end_promise(host, id) else { return };
                self.store.refused = Some(host.now());
                host.refuse(promise.held, Reply::unavailable(RETRY_AFTER_SECONDS));
                self.take_back(host, &promise);
            }
        }
    }

    /// The callee has answered a call that there is not: it gets its ACK, and a BYE.
    fn take_back(&mut self, host: &mut impl Host<Dialog>, promise: &Promise) {
        let id = promise.dialog;
        if let Some(record) = self.table.get_mut(id) {
            record.extra.get_or_insert_default().taken_back = true;
            record.flags.set(Flags::HAS_BYE, true);
        }
        self.fail(host, id, StatusCode::SERVICE_UNAVAILABLE);
        self.unstore(host, id);
        self.acknowledge_for(host, id, promise.transaction);
        self.send_bye(host, id, Side::Callee, 0);
    }

    fn acknowledge_for(
        &mut self,
        host: &mut impl Host<Dialog>,
        id: DialogId,
        transaction: ServerId,
    ) {
        let number = host.attached(transaction).map_or(0, |attached| attached.cseq);
        let shift = self.table.get(id).map_or(0, |record| record.leg(Side::Caller).invite_shift);
        self.acknowledge(host, id, number.saturating_add(shift));
    }

    /// A copy of the answer has come: while the first waits it waits for nothing, and once that was
    /// taken back it wants its ACK.
    pub(super) fn answer_again(
        &mut self,
        host: &mut impl Host<Dialog>,
        id: DialogId,
        transaction: ServerId,
    ) {
        let Some(extra) = self.table.get(id).and_then(|record| record.extra.as_ref()) else {
            return;
        };
        let (waits, taken_back) = (extra.promise.is_some(), extra.taken_back);
        if (waits || taken_back)
            && let Some(copy) = host.hold(transaction)
        {
            host.discard(copy);
        }
        if taken_back {
            self.acknowledge_for(host, id, transaction);
        }
    }

    /// The call is over before storage has said anything: nothing is left to be promised, and the
    /// caller must hear of the answer before it hears of the end.
    pub(super) fn let_go(&mut self, host: &mut impl Host<Dialog>, id: DialogId) {
        let promise = self.table.get(id).and_then(|record| record.extra.as_ref()?.promise);
        if let Some(promise) = promise {
            self.go_on(host, promise);
        }
    }

    fn end_promise(&mut self, host: &mut impl Host<Dialog>, id: PromiseId) -> Option<Promise> {
        let promise = self.promises.remove(id)?;
        host.cancel(promise.timer);
        if let Some(record) = self.table.get_mut(promise.dialog)
            && let Some(extra) = &mut record.extra
        {
            extra.promise = None;
            if extra.is_plain() {
                record.extra = None;
            }
        }
        Some(promise)
    }
}
