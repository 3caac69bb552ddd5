//! How a shard sleeps: sockets are watched by tasks of the executor, and a timer wakes it.
//!
//! For: sleeping without missing what arrives.
//! Not here: when to sleep (`shard.rs`), naps without the executor (`udp/`).

use crate::bell::Bell;
use crate::udp::ready::Readiness;
use glommio::timer::Timer;
use std::cell::Cell;
use std::future::{Future, poll_fn};
use std::pin::pin;
use std::rc::Rc;
use std::task::Poll;
use strowger_sip::time::Instant;

/// One socket and the task that watches it while the shard sleeps.
pub(crate) struct Line {
    /// There may be something to receive.
    pub(crate) look: Cell<bool>,
    /// The watcher waits for the socket.
    pub(crate) watched: Cell<bool>,
    /// Rung to have the watcher wait.
    pub(crate) watch: Bell,
}

impl Line {
    /// One that nobody watches yet.
    pub(crate) fn new() -> Rc<Line> {
        let (look, watched) = (Cell::new(true), Cell::new(false));
        Rc::new(Line { look, watched, watch: Bell::default() })
    }
}

/// Waits for a socket each time it is told to, and tells the loop.
pub(crate) async fn watch(readiness: Readiness, line: Rc<Line>, bell: Rc<Bell>) {
    loop {
        line.watch.wait().await;
        readiness.wait().await;
        line.watched.set(false);
        line.look.set(true);
        bell.ring();
    }
}

/// Sleeps until the bell rings or the deadline comes. The timer is kept from rest to rest:
/// deadlines mostly move away, so that it is cheaper to wake once too early than to set it anew
/// each time.
pub(crate) async fn rest(
    bell: &Bell,
    alarm: &mut Option<(Instant, Timer)>,
    now: Instant,
    deadline: Instant,
) {
    if alarm.as_ref().is_none_or(|(at, _)| *at > deadline || *at <= now) {
        *alarm = Some((deadline, Timer::new(deadline - now)));
    }
    let mut ring = pin!(bell.wait());
    poll_fn(|context| {
        let rung = ring.as_mut().poll(context).is_ready();
        let late = match alarm {
            Some((_, timer)) => pin!(timer).poll(context).is_ready(),
            None => false,
        };
        if rung || late { Poll::Ready(()) } else { Poll::Pending }
    })
    .await;
}
