//! One shard sleeps, many tasks of its executor may wake it.
//!
//! For: joining sockets, the doorbell and the alarm into one wait.
//! Not here: waking a shard from another thread (`doorbell.rs`).
//! Invariants: a ring before the wait is not lost; several rings wake once.

use std::cell::Cell;
use std::future::poll_fn;
use std::task::{Poll, Waker};

/// Rung by tasks, awaited by the shard loop of the same thread. These are the tree's few shared
/// cells: tasks of one executor have nothing but shared references to tell each other anything.
#[derive(Default)]
pub(crate) struct Bell {
    rung: Cell<bool>,
    sleeper: Cell<Option<Waker>>,
}

impl Bell {
    pub(crate) fn ring(&self) {
        self.rung.set(true);
        if let Some(sleeper) = self.sleeper.take() {
            sleeper.wake();
        }
    }

    /// Waits for a ring, and takes it.
    pub(crate) async fn wait(&self) {
        poll_fn(|context| {
            if self.rung.take() {
                return Poll::Ready(());
            }
            self.sleeper.set(Some(context.waker().clone()));
            Poll::Pending
        })
        .await;
    }
}
