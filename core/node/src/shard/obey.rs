//! What a shard does that control asks of it, and what it tells of itself.
//!
//! For: draining, commands, summaries.
//! Not here: who asks (`control.rs`, `http/`).
//! Invariants: whoever asked is never waited for.

use super::{Fate, Turn};
use crate::command::{Answer, Command};
use crate::counters::{Counters, Labelled, Spent, Summary, Value};
use crate::engine::ShardEngine;
use crate::stream::Streams;
use crate::udp::DatagramEngine;
use nix::time::{ClockId, clock_gettime};
use std::time::Duration;
use strowger_sip::engine::Input;
use strowger_sip::module::notes::Reading;
use strowger_sip::time::Instant;

impl<E: ShardEngine, U: DatagramEngine> Turn<E, U> {
    /// Does what control asks.
    pub(super) fn obey(&mut self, now: Instant) -> Fate {
        while let Ok(command) = self.shard.commands.try_recv() {
            match command {
                Command::Drain => {
                    self.shard.engine.handle(now, Input::Drain, &mut self.out);
                    self.shard.streams.iter_mut().for_each(Streams::stop_accepting);
                    self.send(now);
                    self.tell_others(now);
                }
                Command::Report => drop(self.shard.answers.send(Answer::Report(self.summary()))),
                Command::ReportTo(answers) => drop(answers.try_send(self.summary())),
                Command::Do(command, answers) => {
                    let Turn { shard, out, .. } = self;
                    let answer = shard.engine.command(now, &command, out);
                    drop(answers.try_send((shard.id, answer)));
                    self.send(now);
                    self.tell_others(now);
                }
                Command::Tap(rules) => self.tap.set(rules),
                Command::Tick(turn) => {
                    // Whoever asked may have gone.
                    let _ = turn.try_send(self.shard.id);
                }
                Command::Renew(done) => {
                    let fresh = (self.shard.again)();
                    self.shard.engine.renew(now, fresh, &mut self.out);
                    self.send(now);
                    self.tell_others(now);
                    // Whoever asked may have gone.
                    let _ = done.try_send(self.shard.id);
                }
                Command::Stop => {
                    self.shard.engine.handle(now, Input::Stop, &mut self.out);
                    self.send(now);
                    self.tell_others(now);
                    drop(self.shard.answers.send(Answer::Ended(self.summary())));
                    return Fate::Over;
                }
            }
        }
        Fate::Alive
    }

    fn summary(&self) -> Summary {
        let mut metrics = Vec::new();
        self.shard.engine.each_metric(&mut |name, value| metrics.push((name, value)));
        let tcp = self.shard.streams.as_ref().map(Streams::counters);
        let kernel_drops = self.shard.udp.kernel_drops();
        let (tap_copied, tap_lost) = (self.tap.copied, self.tap.lost);
        let counters = Counters { kernel_drops, tcp, tap_copied, tap_lost, ..self.counters };
        let census = self.shard.engine.census();
        Summary {
            shard: self.shard.id,
            core: self.shard.core,
            counters,
            census,
            metrics,
            messages: self.shard.engine.messages(),
            draining: self.shard.engine.is_draining(),
            readings: self.readings(),
            spent: Spent { cpu: cpu_micros(), ..self.spent.clone() },
        }
    }

    fn readings(&self) -> Vec<Labelled> {
        let mut readings = Vec::new();
        self.shard.engine.readings(&mut |name, labels, value| {
            let labels = labels.iter().map(|(key, value)| (*key, (*value).to_owned())).collect();
            let value = match value {
                Reading::Number(number) => Value::Number(number),
                Reading::Histogram(spans) => Value::Histogram(spans.clone()),
            };
            readings.push(Labelled { name, labels, value });
        });
        let value = Value::Histogram(self.waited.clone());
        readings.push(Labelled { name: "queueing_delay_seconds", labels: Vec::new(), value });
        readings
    }
}

/// What the kernel counts for this thread.
fn cpu_micros() -> u64 {
    let spent = clock_gettime(ClockId::CLOCK_THREAD_CPUTIME_ID).map(Duration::from);
    spent.map_or(0, |spent| u64::try_from(spent.as_micros()).unwrap_or(u64::MAX))
}
