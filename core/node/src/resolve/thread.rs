//! The resolver's thread, and the shards' ends of its queues.
//!
//! For: many questions at once on one thread, each answered to the shard that asked.
//! Not here: how one is answered (`procedure.rs`).
//! Invariants: the thread ends when no shard is left to ask; whoever puts an answer into a shard's
//! queue rings its bell after it.

use super::procedure::Procedure;
use super::{
    ANSWERS_QUEUED_MAX, QUESTION_WITHIN, QUESTIONS_AT_ONCE, QUESTIONS_QUEUED_MAX, Resolver,
};
use crate::doorbell::Doorbell;
use std::io;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::mpsc;
use strowger_sip::resolver::{Question, Resolution};
use tokio::runtime::{Builder, Runtime};
use tokio::task::{JoinSet, LocalSet};
use tokio::time::timeout;

/// What comes back.
type Answered = (Question, Resolution);

/// One question, and where its answer goes.
struct Asked {
    question: Question,
    to: Arc<Mailbox>,
}

/// Where answers for one shard are put.
#[derive(Debug)]
struct Mailbox {
    answers: mpsc::SyncSender<Answered>,
    doorbell: Arc<Doorbell>,
}

/// One shard's end.
pub(crate) struct Asker {
    questions: flume::Sender<Asked>,
    answers: mpsc::Receiver<Answered>,
    mailbox: Arc<Mailbox>,
    // Asked and not answered: while there is none, there is nothing to look for.
    open: usize,
}

/// The resolver has no room for another question.
#[derive(Debug)]
pub(super) struct Refused(pub(super) Question);

impl Asker {
    /// Asks; the answer comes some time later.
    pub(super) fn ask(&mut self, question: Question) -> Result<(), Refused> {
        // There is always room for the answer to a question that was taken.
        if self.open >= ANSWERS_QUEUED_MAX {
            return Err(Refused(question));
        }
        let asked = Asked { question, to: Arc::clone(&self.mailbox) };
        self.questions.try_send(asked).map_err(|error| Refused(error.into_inner().question))?;
        self.open += 1;
        Ok(())
    }

    /// The next answer that has come.
    pub(super) fn next_answer(&mut self) -> Option<Answered> {
        if self.open == 0 {
            return None;
        }
        let answered = self.answers.try_recv().ok()?;
        self.open -= 1;
        Some(answered)
    }
}

/// Starts the thread; one asker for each shard, of which each has a doorbell.
pub(crate) fn start(resolver: Resolver, bells: &[Arc<Doorbell>]) -> io::Result<Vec<Asker>> {
    let (asker, asked) = flume::bounded(QUESTIONS_QUEUED_MAX);
    let askers = bells.iter().map(|doorbell| {
        let (answer, answers) = mpsc::sync_channel(ANSWERS_QUEUED_MAX);
        let mailbox = Arc::new(Mailbox { answers: answer, doorbell: Arc::clone(doorbell) });
        Asker { questions: asker.clone(), answers, mailbox, open: 0 }
    });
    let askers = askers.collect();
    let runtime = Builder::new_current_thread().enable_all().build()?;
    let run = move || run(&runtime, resolver, &asked);
    std::thread::Builder::new().name("resolver".to_owned()).spawn(run)?;
    Ok(askers)
}

fn run(runtime: &Runtime, resolver: Resolver, asked: &flume::Receiver<Asked>) {
    let resolver = Rc::new(resolver);
    LocalSet::new().block_on(runtime, async {
        let mut running = JoinSet::new();
        while let Ok(Asked { question, to }) = asked.recv_async().await {
            while running.try_join_next().is_some() {}
            while running.len() >= QUESTIONS_AT_ONCE {
                running.join_next().await;
            }
            let resolver = Rc::clone(&resolver);
            running.spawn_local(async move {
                let Resolver { servers, reach, try_naptr } = &*resolver;
                let procedure = Procedure { lookup: servers, reach, try_naptr: *try_naptr };
                let answer = timeout(QUESTION_WITHIN, procedure.answer(&question)).await;
                let resolution = answer.unwrap_or(Resolution::Failed);
                // Never full, for a shard asks only while there is room; closed only when it has
                // ended.
                let _ = to.answers.try_send((question, resolution));
                to.doorbell.ring();
            });
        }
    });
}
