//! What a routing says of a call before that is tracked.
//!
//! For: keeping it with the request's transaction until `manage` makes a dialog of it.
//! Not here: the methods by which it is said (`request.rs`).
//! Invariants: nothing is kept of a request without a transaction; what no dialog came of is given
//! back with the transaction.

use super::table::DialogId;
use super::{Dialog, Draft, dialog_of};
use strowger_sip::engine::slots::ServerId;
use strowger_sip::module::Host;
use strowger_sip::routing::RequestIds as Ids;

impl Dialog {
    pub(super) fn set_variable(
        &mut self,
        host: &mut impl Host<Dialog>,
        id: DialogId,
        key: &[u8],
        value: &[u8],
    ) -> bool {
        let Some(record) = self.table.get_mut(id) else { return false };
        match record.pairs.set_variable(key, value) {
            Ok(changed) => {
                if changed {
                    self.variable_changed(host, id, key);
                }
                true
            }
            Err(_) => {
                self.counters.refused += 1;
                false
            }
        }
    }

    /// What a routing says before its call is tracked. Of a request without a transaction, an ACK,
    /// nothing is kept.
    pub(super) fn draft_of(
        &mut self,
        host: &mut impl Host<Dialog>,
        ids: &Ids,
        change: impl FnOnce(&mut Draft),
    ) {
        let Some(transaction) = ids.transaction else { return };
        let mut draft = match self.take_draft(host, transaction) {
            Some(draft) => draft,
            None => self.draft(),
        };
        change(&mut draft);
        if let Some(attached) = host.attached(transaction) {
            attached.draft = Some(draft);
        }
    }

    fn take_draft(
        &mut self,
        host: &mut impl Host<Dialog>,
        transaction: ServerId,
    ) -> Option<Box<Draft>> {
        host.attached(transaction)?.draft.take()
    }

    pub(super) fn read_draft<T>(
        &self,
        host: &mut impl Host<Dialog>,
        ids: &Ids,
        read: impl FnOnce(&Draft) -> T,
    ) -> Option<T> {
        host.attached(ids.transaction?)?.draft.as_deref().map(read)
    }

    /// Puts the request's dialog, or what is to become one, into a group.
    pub(super) fn enlist(
        &mut self,
        host: &mut impl Host<Dialog>,
        ids: &Ids,
        group: super::profile::Group,
    ) -> bool {
        match dialog_of(host, ids.transaction) {
            Some(id) => self.join(host, id, group).is_ok(),
            None => {
                let mut kept = false;
                let (profile, value) = group.parts();
                self.draft_of(host, ids, |draft| kept = draft.pairs.join(profile, value).is_ok());
                if kept {
                    self.count_join(host, group);
                }
                kept
            }
        }
    }

    pub(super) fn leave_draft(
        &mut self,
        host: &mut impl Host<Dialog>,
        ids: &Ids,
        group: super::profile::Group,
    ) -> bool {
        let (profile, value) = group.parts();
        let mut left = false;
        self.draft_of(host, ids, |draft| left = draft.pairs.leave(profile, value));
        if left {
            self.count_leave(host, group);
        }
        left
    }
}
