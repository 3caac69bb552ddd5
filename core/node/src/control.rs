//! The control thread: signals in, orders to shards and summaries out.
//!
//! For: draining, stopping, and telling how things are.
//! Not here: what a shard does about it (`shard.rs`).
//! Invariants: shards end together, when none has work left, for each relays datagrams to the
//! others.

use crate::command::{Answer, Command};
use crate::counters::Summary;
use crate::lists::Reader;
use crate::log::complain;
pub use crate::log::say;
use crate::node::Running;
use crate::notify::Notifier;
use crate::storage::{Storage, StorageSummary};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM, SIGUSR1};
use signal_hook::iterator::Signals;
use std::fmt;
use std::io;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::time::{Duration, Instant};

/// How often shards are asked, while draining, whether they are done.
const DRAIN_LOOK_EVERY: Duration = Duration::from_millis(200);
/// How long shards may take to answer. These machines freeze for a second now and then.
const ANSWER_WITHIN: Duration = Duration::from_secs(10);
/// What storage gets for what it has not written yet, when a stop leaves it less.
const FLUSH_MIN: Duration = Duration::from_secs(2);
/// Exit status for a fault of our own (sysexits.h, EX_SOFTWARE).
const EXIT_SOFTWARE: i32 = 70;

/// Shards that do not answer.
#[derive(Debug)]
pub struct Unanswered {
    shards: usize,
    answered: usize,
}

impl fmt::Display for Unanswered {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Unanswered { shards, answered } = self;
        write!(f, "{answered} of {shards} shards answered within {ANSWER_WITHIN:?}")
    }
}

impl std::error::Error for Unanswered {}

/// What somebody outside wants of the node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    /// Stop: gently the first time, at once the second.
    Stop,
    /// Tell how things are.
    Show,
    /// Read the configuration, and the lists of files and tables, again.
    Reload,
}

impl Running {
    /// Has every shard take no new calls.
    pub fn drain(&self) {
        self.tell(Command::Drain);
    }

    /// How things are, by shard.
    pub fn report(&self) -> Result<Vec<Summary>, Unanswered> {
        self.tell(Command::Report);
        self.collect()
    }

    /// Has the configuration, and the lists of files and tables, read again; every shard gets the
    /// new ones, or, when something is wrong with them, none does.
    pub fn reload(&self) {
        match self.reload.as_ref().map(|reload| reload.run(false)) {
            Some(Ok(outcome)) => say(&format!("configuration: {outcome}")),
            Some(Err(cause)) => {
                cause.lines().for_each(complain);
                complain("configuration: not reloaded, the old one stays in force");
            }
            None => self.lists.iter().for_each(Reader::reload),
        }
    }

    /// How storage is; `None` without any.
    pub fn storage(&self) -> Option<StorageSummary> {
        self.storage.as_ref().and_then(Storage::summary)
    }

    /// Ends every shard; how things were, by shard.
    pub fn stop(self) -> Result<Vec<Summary>, Unanswered> {
        self.stop_within(FLUSH_MIN).map(|(summaries, _)| summaries)
    }

    /// The same; storage may take so long to write what waits.
    pub fn stop_within(
        mut self,
        flush: Duration,
    ) -> Result<(Vec<Summary>, Option<StorageSummary>), Unanswered> {
        self.tell(Command::Stop);
        let summaries = self.collect()?;
        for handle in self.handles {
            // A shard that answered has nothing left to fail at.
            let _ = handle.join();
        }
        // After the shards: what they said last is written too.
        let storage = self.storage.take().and_then(|storage| storage.stop(flush));
        Ok((summaries, storage))
    }

    fn tell(&self, command: Command) {
        self.desks.iter().for_each(|desk| desk.tell(command.clone()));
    }

    fn collect(&self) -> Result<Vec<Summary>, Unanswered> {
        let (shards, until) = (self.desks.len(), Instant::now() + ANSWER_WITHIN);
        let mut summaries = Vec::with_capacity(shards);
        while summaries.len() < shards {
            match self.answers.recv_timeout(until.saturating_duration_since(Instant::now())) {
                Ok(Answer::Report(summary) | Answer::Ended(summary)) => summaries.push(summary),
                Err(_) => return Err(Unanswered { shards, answered: summaries.len() }),
            }
        }
        summaries.sort_by_key(|summary| summary.shard);
        Ok(summaries)
    }
}

/// Runs the node until it is ordered to stop and has drained, then prints a line per shard.
pub fn supervise(
    running: Running,
    orders: &mpsc::Receiver<Order>,
    drain_timeout: Duration,
    notifier: &Notifier,
) -> Result<(), Unanswered> {
    let ready = format!("{} shards", running.desks.len());
    notifier.ready(&ready);
    loop {
        match orders.recv() {
            Ok(Order::Show) => show(&running.report()?, running.storage().as_ref()),
            Ok(Order::Reload) => {
                notifier.reloading();
                running.reload();
                notifier.ready(&ready);
            }
            Ok(Order::Stop) | Err(_) => break,
        }
    }
    notifier.stopping();
    let until = Instant::now() + drain_timeout;
    drain(&running, orders, drain_timeout)?;
    let flush = until.saturating_duration_since(Instant::now()).max(FLUSH_MIN);
    let (summaries, storage) = running.stop_within(flush)?;
    show(&summaries, storage.as_ref());
    if let Some(waiting) = storage.map(|storage| storage.waiting).filter(|waiting| *waiting > 0) {
        say(&format!("storage: {waiting} rows could not be written"));
    }
    Ok(())
}

fn drain(
    running: &Running,
    orders: &mpsc::Receiver<Order>,
    timeout: Duration,
) -> Result<(), Unanswered> {
    running.drain();
    say(&format!(
        "draining: new calls are refused, running ones may finish within {timeout:?}; \
         a second signal stops at once"
    ));
    let until = Instant::now() + timeout;
    let mut idle = false;
    while Instant::now() < until {
        match orders.recv_timeout(DRAIN_LOOK_EVERY) {
            Ok(Order::Stop) => return Ok(()),
            Ok(Order::Show) => show(&running.report()?, running.storage().as_ref()),
            Ok(Order::Reload) => running.reload(),
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => std::thread::sleep(DRAIN_LOOK_EVERY),
        }
        // Twice in a row: at the first look a message may have been between two shards.
        let was_idle = idle;
        idle = running.report()?.iter().all(|summary| summary.census.is_empty());
        if idle && was_idle {
            return Ok(());
        }
    }
    say(&format!("drain timed out after {timeout:?}; stopping with work left"));
    Ok(())
}

fn show(summaries: &[Summary], storage: Option<&StorageSummary>) {
    summaries.iter().for_each(|summary| say(&summary.to_string()));
    storage.iter().for_each(|summary| say(&summary.to_string()));
}

/// Turns SIGTERM and SIGINT into [`Order::Stop`], SIGUSR1 into [`Order::Show`], SIGHUP into
/// [`Order::Reload`]; the sender is for others who have orders.
pub fn orders_from_signals() -> io::Result<(mpsc::Sender<Order>, mpsc::Receiver<Order>)> {
    let mut signals = Signals::new([SIGTERM, SIGINT, SIGUSR1, SIGHUP])?;
    let (order, orders) = mpsc::channel();
    let others = order.clone();
    std::thread::Builder::new().name("signals".to_owned()).spawn(move || {
        for signal in signals.forever() {
            let wanted = match signal {
                SIGUSR1 => Order::Show,
                SIGHUP => Order::Reload,
                _ => Order::Stop,
            };
            if order.send(wanted).is_err() {
                return;
            }
        }
    })?;
    Ok((others, orders))
}

/// Makes a panic on any thread end the process: a node that lost a shard must not go on without it.
pub fn die_on_panic() {
    let report = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |info| {
        report(info);
        let thread = std::thread::current();
        let name = thread.name().unwrap_or("a nameless thread");
        eprintln!("strowger: {name} panicked; the whole node stops (exit status {EXIT_SOFTWARE})");
        std::process::exit(EXIT_SOFTWARE);
    }));
}
