//! Taking in what others tell, on the shard that owns the address.
//!
//! For: asking the location, and telling the subscription's shard what became of it.
//! Not here: what is told (`watch.rs`), what becomes of each contact (`location/import.rs`).
//! Invariants: each part of a document is answered once.

use super::watch::{JobId, Part};
use super::{Handled, Imported, Outcome, Peer, PuaReginfo};
use crate::location::{Answer, Aor, Asked, Change, Operation, Ordering, Replied, Wanted, Wish};
use strowger_sip::module::{Host, Module};
use strowger_sip::shard::ShardId;
use strowger_sip::transaction::Id;

/// Most questions to the location that wait on one shard. A guess: what `jobs::JOBS_MAX` allows
/// there, which is where they wait.
pub(super) const QUESTIONS_MAX: usize = 32_768;

/// Marks ids of questions to the location.
#[derive(Debug)]
pub(super) enum QuestionMark {}

/// Names one.
type QuestionId = Id<QuestionMark>;

/// Why the location was asked.
#[derive(Debug)]
pub(super) enum Question {
    /// A part of a document of this shard.
    Import(ShardId, JobId),
    /// This address is to be published.
    Publish(Aor),
}

impl PuaReginfo {
    /// A part of a document that is about an address of this shard.
    pub(super) fn import(
        &mut self,
        host: &mut impl Host<Self>,
        (from, job): (ShardId, JobId),
        part: Part,
    ) {
        let today = self.today(host);
        let Part { aor, mut told, source, full } = part;
        let before = told.len();
        told.retain(|told| match told {
            Wanted::Bind(contact) => !self.echoes.is_echo(&aor, contact, today),
            Wanted::Unbind(_) => true,
        });
        self.counters.echoes += (before - told.len()) as u64;
        let change = Change {
            aor,
            wish: Wish::Import { told, source, full },
            ordering: Ordering::EqualPasses,
            call_id: Box::default(),
            cseq: 0,
            contacts_max: 0,
            one_contact: false,
            quiet: true,
            presence: false,
        };
        let question = Question::Import(from, job);
        if !self.ask(host, question, Operation::Change(change)) {
            host.tell(from, Peer::Imported { job, outcome: Outcome::Refused });
        }
    }

    /// Asks for the contacts of an address, to publish them.
    pub(super) fn ask_and_publish(&mut self, host: &mut impl Host<Self>, aor: Aor) -> bool {
        let operation = Operation::Find { aor: aor.clone(), expired_too: false };
        self.ask(host, Question::Publish(aor), operation)
    }

    fn ask(
        &mut self,
        host: &mut impl Host<Self>,
        question: Question,
        operation: Operation,
    ) -> bool {
        let Ok(id) = self.questions.insert(question) else { return false };
        host.publish(Asked { by: Self::NAME, number: id.as_u64(), operation });
        true
    }

    /// The location has answered.
    pub(super) fn replied(&mut self, host: &mut impl Host<Self>, replied: &Replied) {
        if replied.to != Self::NAME {
            return;
        }
        let question = self.questions.remove(QuestionId::from_u64(replied.number));
        match (question, &replied.answer) {
            (Some(Question::Import(shard, job)), Answer::Changed(done)) => {
                let active = !done.bindings.is_empty();
                let updated = done.added + done.updated;
                let outcome = Outcome::Done { active, updated, removed: done.removed };
                host.tell(shard, Peer::Imported { job, outcome });
            }
            (Some(Question::Import(shard, job)), Answer::Refused(_) | Answer::Found(_)) => {
                host.tell(shard, Peer::Imported { job, outcome: Outcome::Refused });
            }
            (Some(Question::Publish(aor)), Answer::Found(contacts)) => {
                self.publish_all(host, &aor, contacts.clone());
            }
            (Some(Question::Publish(_)), Answer::Refused(_) | Answer::Changed(_)) => {}
            (None, _) => {}
        }
    }

    /// The owner of an address has taken in its part.
    pub(super) fn imported(&mut self, host: &mut impl Host<Self>, job: JobId, outcome: Outcome) {
        let Some(doing) = self.jobs.get_mut(job) else { return };
        doing.left = doing.left.saturating_sub(1);
        match outcome {
            Outcome::Done { active, updated, removed } => {
                doing.active |= active;
                doing.updated += updated;
                doing.removed += removed;
            }
            Outcome::Refused => doing.refused += 1,
        }
        if doing.left > 0 {
            return;
        }
        let Some(done) = self.jobs.remove(job) else { return };
        self.counters.imported_contacts += done.updated as u64;
        self.counters.removed_contacts += done.removed as u64;
        self.counters.refused_imports += done.refused as u64;
        if done.refused > 0 {
            // The next full document brings what is missing.
            self.forget_versions(&done.presentity);
            self.ask_again(host, &done.presentity);
        }
        let handled = match (done.refused, done.active) {
            (1.., _) => Handled::Invalid,
            (0, true) => Handled::Registered,
            (0, false) => Handled::NoneLeft,
        };
        self.say(host, &done.presentity, handled);
    }

    /// Tells whoever listens what became of a NOTIFY (`event_route[reginfo:imported]`).
    pub(super) fn say(&mut self, host: &mut impl Host<Self>, uri: &str, handled: Handled) {
        host.publish(Imported { presentity: uri.to_owned(), handled });
    }
}
