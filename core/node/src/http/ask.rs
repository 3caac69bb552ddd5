//! Asking shards, from the control thread.
//!
//! For: how things are on each of them, and commands.
//! Not here: what is made of the answers (`metrics.rs`, `merge.rs`).
//! Invariants: a shard answers between two turns of its loop and never waits for whoever asked; one
//! that does not answer in time is left out, and the caller sees that.

use crate::command::{Command, Done};
use crate::counters::Summary;
use crate::node::Desk;
use std::sync::Arc;
use std::time::Duration;
use strowger_sip::module;
use tokio::sync::Mutex;
use tokio::time::{Instant, timeout_at};

/// How long shards may take. These machines freeze for a second now and then.
const WITHIN: Duration = Duration::from_secs(5);

/// The shards of the node.
#[derive(Clone, Debug)]
pub(super) struct Shards {
    desks: Vec<Desk>,
    last: Arc<Mutex<Option<Report>>>,
}

/// The last report, and when it was asked for.
type Report = (Instant, Arc<Vec<Summary>>);

impl Shards {
    pub(super) fn new(desks: &[Desk]) -> Shards {
        Shards { desks: desks.to_vec(), last: Arc::default() }
    }

    /// How things are, by shard; `None` when one does not answer.
    async fn report(&self) -> Option<Vec<Summary>> {
        let (answer, answers) = flume::bounded(self.desks.len());
        self.desks.iter().for_each(|desk| desk.tell(Command::ReportTo(answer.clone())));
        drop(answer);
        let mut summaries = self.collect(&answers).await?;
        summaries.sort_by_key(|summary: &Summary| summary.shard);
        Some(summaries)
    }

    /// How many there are.
    pub(super) fn count(&self) -> usize {
        self.desks.len()
    }

    /// How things are, asked once for all who want to know at the same time: many scrapers cost a
    /// shard no more than two.
    pub(super) async fn report_shared(&self) -> Option<Arc<Vec<Summary>>> {
        let arrived = Instant::now();
        let mut last = self.last.lock().await;
        if let Some((asked, summaries)) = &*last
            && *asked >= arrived
        {
            return Some(Arc::clone(summaries));
        }
        let asked = Instant::now();
        let summaries = Arc::new(self.report().await?);
        *last = Some((asked, Arc::clone(&summaries)));
        Some(summaries)
    }

    /// Has one shard do something; `None` when it does not answer.
    pub(super) async fn command_one(&self, shard: usize, command: module::Command) -> Option<Done> {
        let (answer, answers) = flume::bounded(1);
        self.desks.get(shard)?.tell(Command::Do(Arc::new(command), answer));
        timeout_at(Instant::now() + WITHIN, answers.recv_async()).await.ok()?.ok()
    }

    /// Has every shard do something; `None` when one does not answer.
    pub(super) async fn command(&self, command: module::Command) -> Option<Vec<Done>> {
        let (answer, answers) = flume::bounded(self.desks.len());
        let command = Arc::new(command);
        self.desks
            .iter()
            .for_each(|desk| desk.tell(Command::Do(Arc::clone(&command), answer.clone())));
        drop(answer);
        let mut done = self.collect(&answers).await?;
        done.sort_by_key(|(shard, _): &Done| *shard);
        Some(done)
    }

    async fn collect<T>(&self, answers: &flume::Receiver<T>) -> Option<Vec<T>> {
        let until = Instant::now() + WITHIN;
        let mut all = Vec::with_capacity(self.desks.len());
        while all.len() < self.desks.len() {
            all.push(timeout_at(until, answers.recv_async()).await.ok()?.ok()?);
        }
        Some(all)
    }
}
