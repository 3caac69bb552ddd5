//! Questions that routings have asked of another shard or of storage, and wait for.
//!
//! For: one awaited message: open a question, tell somebody its id, await; the answer wakes the
//! routing. A question that is never answered ends by its timer, one whose routing goes away is
//! forgotten.
//! Not here: what is asked and answered (each module).
//! Invariants: bounded; an answer to a question that is gone is dropped; a question has one answer.

use std::marker::PhantomData;
use std::task::Poll;
use strowger_sip::engine::slots::ContextId;
use strowger_sip::module::{Has, Host, Module};
use strowger_sip::routing::{ListOf, Request, Routing};
use strowger_sip::time::Duration;
use strowger_sip::transaction::{Id, Slab};
use strowger_sip::wheel::TimerId;

/// Most questions of one module that wait on one shard. A guess: a second's worth of a busy shard.
pub const ASKS_MAX: usize = 65_536;

/// Marks ids of questions.
#[derive(Debug)]
pub enum AskMark {}

/// Names a question on the shard that asked it.
pub type AskId = Id<AskMark>;

/// The questions of one module on one shard; `A` is what answers them.
#[derive(Debug)]
pub struct Asks<A> {
    open: Slab<Ask<A>, AskMark>,
}

#[derive(Debug)]
struct Ask<A> {
    context: ContextId,
    timer: Option<TimerId>,
    answer: Answer<A>,
}

#[derive(Debug)]
enum Answer<A> {
    Awaited,
    Given(A),
    /// Nobody answered in time.
    Missing,
}

impl<A> Default for Asks<A> {
    fn default() -> Self {
        Asks { open: Slab::new(0, ASKS_MAX) }
    }
}

impl<A: 'static> Asks<A> {
    /// Opens a question of this routing. `timer` makes the module's timer that ends it after
    /// `patience`: the module calls [`Asks::expire`] then. `None` when too many wait.
    pub fn open<M: Module>(
        &mut self,
        host: &mut impl Host<M>,
        context: ContextId,
        patience: Duration,
        timer: impl FnOnce(AskId) -> M::Timer,
    ) -> Option<AskId> {
        let id = self.open.insert(Ask { context, timer: None, answer: Answer::Awaited }).ok()?;
        let armed = host.arm(host.now() + patience, timer(id));
        if let Some(ask) = self.open.get_mut(id) {
            ask.timer = Some(armed);
        }
        Some(id)
    }

    /// Answers a question and wakes its routing.
    pub fn answer<M: Module>(&mut self, host: &mut impl Host<M>, id: AskId, answer: A) {
        let Some(ask) = self.open.get_mut(id) else { return };
        if let Answer::Awaited = ask.answer {
            ask.answer = Answer::Given(answer);
            if let Some(timer) = ask.timer.take() {
                host.cancel(timer);
            }
            host.wake(ask.context);
        }
    }

    /// The question's time is over.
    pub fn expire<M: Module>(&mut self, host: &mut impl Host<M>, id: AskId) {
        let Some(ask) = self.open.get_mut(id) else { return };
        ask.timer = None;
        if let Answer::Awaited = ask.answer {
            ask.answer = Answer::Missing;
            host.wake(ask.context);
        }
    }

    /// How many wait.
    pub fn len(&self) -> usize {
        self.open.len()
    }

    /// Whether none waits.
    pub fn is_empty(&self) -> bool {
        self.open.is_empty()
    }

    fn take(&mut self, id: AskId) -> Poll<Option<A>> {
        let Some(ask) = self.open.get_mut(id) else { return Poll::Ready(None) };
        match std::mem::replace(&mut ask.answer, Answer::Missing) {
            Answer::Awaited => {
                ask.answer = Answer::Awaited;
                Poll::Pending
            }
            Answer::Given(answer) => Poll::Ready(Some(answer)),
            Answer::Missing => Poll::Ready(None),
        }
    }

    fn close<M: Module>(&mut self, host: &mut impl Host<M>, id: AskId) {
        if let Some(timer) = self.open.remove(id).and_then(|ask| ask.timer) {
            host.cancel(timer);
        }
    }
}

/// Waits for the answer to a question of module `M`, whose questions `of` finds; `None` when there
/// was none in time.
pub async fn answer<R, M, N, A>(
    request: &Request<'_, R>,
    id: AskId,
    of: fn(&mut M) -> &mut Asks<A>,
) -> Option<A>
where
    R: Routing,
    M: Module,
    A: 'static,
    ListOf<R>: Has<M, N>,
{
    let guard = Waiting { request, id, of, place: PhantomData::<N> };
    guard.request.module_answer(|module: &mut M, _, _| of(module).take(id)).await
}

/// Forgets a question when its routing stops waiting, for whatever reason.
struct Waiting<'q, 'a, R, M, N, A>
where
    R: Routing,
    M: Module,
    A: 'static,
    ListOf<R>: Has<M, N>,
{
    request: &'q Request<'a, R>,
    id: AskId,
    of: fn(&mut M) -> &mut Asks<A>,
    place: PhantomData<N>,
}

impl<R, M, N, A> Drop for Waiting<'_, '_, R, M, N, A>
where
    R: Routing,
    M: Module,
    A: 'static,
    ListOf<R>: Has<M, N>,
{
    fn drop(&mut self) {
        let (id, of) = (self.id, self.of);
        self.request.module(|module: &mut M, host, _| of(module).close(host, id));
    }
}
