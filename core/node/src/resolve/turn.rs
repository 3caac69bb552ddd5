//! What the shard loop does about names each turn.
//!
//! For: answers in before timers fire, questions out when the engine has had its say.
//! Not here: the queues (`thread.rs`).
//! Invariants: a question that is refused is answered at once, so that nobody waits for nothing.

use super::Asker;
use super::thread::Refused;
use crate::counters::Counters;
use crate::engine::ShardEngine;
use strowger_sip::actions::Actions;
use strowger_sip::engine::Input;
use strowger_sip::resolver::Resolution;
use strowger_sip::time::Instant;

/// Answers taken in one turn, so that the sockets get theirs. A guess.
const ANSWERS_PER_TURN: usize = 64;

/// Whether more answers may wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Heard {
    All,
    Some,
}

impl Asker {
    /// Gives the engine what has been found.
    pub(crate) fn hear<E: ShardEngine>(
        &mut self,
        now: Instant,
        engine: &mut E,
        out: &mut Actions<E::Peer, E::Row>,
        counters: &mut Counters,
    ) -> Heard {
        for _ in 0..ANSWERS_PER_TURN {
            let Some((question, resolution)) = self.next_answer() else { return Heard::All };
            counters.names_failed += u64::from(resolution == Resolution::Failed);
            engine.handle(now, Input::Resolved(question, resolution), out);
        }
        Heard::Some
    }

    /// Asks for the names that the engine wants to know. What finds no room is answered at once,
    /// which may make the engine ask for something else, though never for the same name again.
    pub(crate) fn ask_all<E: ShardEngine>(
        &mut self,
        now: Instant,
        engine: &mut E,
        out: &mut Actions<E::Peer, E::Row>,
        counters: &mut Counters,
    ) {
        while let Some(question) = out.questions.pop() {
            match self.ask(question) {
                Ok(()) => counters.names_asked += 1,
                Err(Refused(question)) => {
                    counters.names_refused += 1;
                    engine.handle(now, Input::Resolved(question, Resolution::Failed), out);
                }
            }
        }
    }
}
