//! A routing's modules as a list of types: static dispatch to each, in order.
//!
//! For: `type Modules = (Registrar, Dialog, Uac)`. The tuple becomes a cons list, so that every
//! operation is written once, for a head and a tail. A module is found in the list by its type; its
//! position is inferred by the compiler, so asking for a module that is not there does not compile.
//! Not here: what hooks mean (`mod.rs`).

use super::host::HostAt;
use super::notes::EachReading;
use super::{
    Arrived, Command, Departing, Ears, Event, Fault, Heard, Module, Notes, Outgoing, Verdict,
};
use crate::engine::core::Core;
use crate::message::Edits;
use crate::shard::ShardId;
use crate::transport::ConnectionId;
use std::marker::PhantomData;

/// The empty list.
#[derive(Debug, Default)]
pub struct Nil;

/// A module and the ones after it.
#[derive(Debug, Default)]
pub struct Cons<H, T> {
    pub(crate) head: H,
    pub(crate) tail: T,
}

/// The first place of a list.
#[derive(Debug)]
pub struct Zero;

/// The place after `N`.
#[derive(Debug)]
pub struct Succ<N>(PhantomData<N>);

/// One of two: how the modules' own types (timers, peer messages, tokens) travel as one.
#[derive(Clone, Copy, Debug)]
pub enum Either<A, B> {
    /// Of the head.
    Left(A),
    /// Of the tail.
    Right(B),
}

/// No value at all: the end of a sum.
#[derive(Clone, Copy, Debug)]
pub enum Never {}

/// The types that a list of modules adds up to.
pub trait ModuleList: Sized + 'static + Hooks<Self, Zero> {}
impl<L: Sized + 'static + Hooks<L, Zero>> ModuleList for L {}

/// Sums and products of the modules' own types.
pub trait Types: Sized + 'static {
    /// All modules' attachments to one transaction.
    type Attached: Default + 'static;
    /// A message of any of them.
    type Peer: Send + 'static;
    /// A timer of any of them.
    type Timer: Copy + 'static;
    /// A token of any of them.
    type Token: Copy + 'static;
    /// A row of any of them.
    type Row: Send + 'static;
    /// Whether any of them listens to events.
    const LISTENS: bool;
    /// Adds what each of them says about itself.
    fn describe(notes: &mut Notes);
}

impl Types for Nil {
    type Attached = ();
    type Peer = Never;
    type Timer = Never;
    type Token = Never;
    type Row = Never;
    const LISTENS: bool = false;
    fn describe(_: &mut Notes) {}
}

impl<H: Module, T: Types> Types for Cons<H, T> {
    type Attached = (H::Attached, T::Attached);
    type Peer = Either<H::Peer, T::Peer>;
    type Timer = Either<H::Timer, T::Timer>;
    type Token = Either<H::Token, T::Token>;
    type Row = Either<H::Row, T::Row>;
    const LISTENS: bool = H::LISTENS || T::LISTENS;
    fn describe(notes: &mut Notes) {
        notes.modules.push(H::NAME);
        notes.metrics.extend(H::METRICS);
        notes.commands.extend(H::COMMANDS);
        T::describe(notes);
    }
}

/// Proof that module `M` stands in this list at place `N`.
#[diagnostic::on_unimplemented(
    message = "the module `{M}` is not among this routing's modules",
    note = "add it to `type Modules = (...)` of the routing"
)]
pub trait Has<M: Module, N>: Types {
    /// The module.
    fn module(&mut self) -> &mut M;
    /// Its part of a transaction's attachments.
    fn attached(all: &mut Self::Attached) -> &mut M::Attached;
    /// Its message as one of the list's.
    fn peer(message: M::Peer) -> Self::Peer;
    /// Its timer as one of the list's.
    fn timer(timer: M::Timer) -> Self::Timer;
    /// Its token as one of the list's.
    fn token(token: M::Token) -> Self::Token;
    /// Its row as one of the list's.
    fn row(row: M::Row) -> Self::Row;
}

impl<M: Module, T: Types> Has<M, Zero> for Cons<M, T> {
    fn module(&mut self) -> &mut M {
        &mut self.head
    }
    fn attached(all: &mut Self::Attached) -> &mut M::Attached {
        &mut all.0
    }
    fn peer(message: M::Peer) -> Self::Peer {
        Either::Left(message)
    }
    fn timer(timer: M::Timer) -> Self::Timer {
        Either::Left(timer)
    }
    fn token(token: M::Token) -> Self::Token {
        Either::Left(token)
    }
    fn row(row: M::Row) -> Self::Row {
        Either::Left(row)
    }
}

impl<M: Module, N, H: Module, T: Has<M, N>> Has<M, Succ<N>> for Cons<H, T> {
    fn module(&mut self) -> &mut M {
        self.tail.module()
    }
    fn attached(all: &mut Self::Attached) -> &mut M::Attached {
        T::attached(&mut all.1)
    }
    fn peer(message: M::Peer) -> Self::Peer {
        Either::Right(T::peer(message))
    }
    fn timer(timer: M::Timer) -> Self::Timer {
        Either::Right(T::timer(timer))
    }
    fn token(token: M::Token) -> Self::Token {
        Either::Right(T::token(token))
    }
    fn row(row: M::Row) -> Self::Row {
        Either::Right(T::row(row))
    }
}

/// The hooks of a list whose first module stands at place `N` of the whole list `S`.
///
/// Requests pass the modules in the tuple's order. Timers, tokens, messages and rows go to the one
/// module whose they are.
pub trait Hooks<S: Types, N>: Types {
    /// [`Module::start`] of each.
    fn start(&mut self, core: &mut Core<S>);
    /// [`Module::stop`] of each.
    fn stop(&mut self, core: &mut Core<S>);
    /// [`Module::request`] of each until one decides.
    fn request(&mut self, core: &mut Core<S>, request: &Arrived<'_>) -> Verdict;
    /// [`Module::forward`] of each.
    fn forward(&mut self, core: &mut Core<S>, request: &Arrived<'_>, out: &mut Outgoing<'_>);
    /// [`Module::response`] of each.
    fn response(&mut self, core: &mut Core<S>, response: &Departing<'_>, edits: &mut Edits);
    /// [`Module::transaction_end`] of each.
    fn transaction_end(&mut self, core: &mut Core<S>, attached: Self::Attached);
    /// [`Module::timer`] of its owner.
    fn timer(&mut self, core: &mut Core<S>, timer: Self::Timer);
    /// [`Module::closed`] of each.
    fn closed(&mut self, core: &mut Core<S>, connection: ConnectionId);
    /// [`Module::peer`] of its owner.
    fn peer(&mut self, core: &mut Core<S>, from: ShardId, message: Self::Peer);
    /// [`Module::answered`] of its owner.
    fn answered(&mut self, core: &mut Core<S>, token: Self::Token, answer: Heard<'_>);
    /// [`Module::row`] of its owner.
    fn row(&mut self, core: &mut Core<S>, row: Self::Row);
    /// [`Module::hears`] of each that listens.
    fn hears(&self, ears: &mut Ears);
    /// [`Module::event`] of each that listens.
    fn event(&mut self, core: &mut Core<S>, event: &Event);
    /// [`Module::command`] of each until one knows the name.
    fn command(&mut self, core: &mut Core<S>, command: &Command) -> Option<Result<String, Fault>>;
    /// [`Module::metrics`] of each.
    fn metrics(&self, each: &mut dyn FnMut(&'static str, u64));
    /// [`Module::readings`] of each.
    fn readings(&self, each: &mut EachReading<'_>);
    /// [`Module::renew`] of each.
    fn renew(&mut self, core: &mut Core<S>, fresh: Self);
    /// The sum of [`Module::live`].
    fn live(&self) -> usize;
}

impl<S: Types, N> Hooks<S, N> for Nil {
    fn start(&mut self, _: &mut Core<S>) {}
    fn stop(&mut self, _: &mut Core<S>) {}
    fn request(&mut self, _: &mut Core<S>, _: &Arrived<'_>) -> Verdict {
        Verdict::Continue
    }
    fn forward(&mut self, _: &mut Core<S>, _: &Arrived<'_>, _: &mut Outgoing<'_>) {}
    fn response(&mut self, _: &mut Core<S>, _: &Departing<'_>, _: &mut Edits) {}
    fn transaction_end(&mut self, _: &mut Core<S>, (): ()) {}
    fn timer(&mut self, _: &mut Core<S>, timer: Never) {
        match timer {}
    }
    fn closed(&mut self, _: &mut Core<S>, _: ConnectionId) {}
    fn peer(&mut self, _: &mut Core<S>, _: ShardId, message: Never) {
        match message {}
    }
    fn answered(&mut self, _: &mut Core<S>, token: Never, _: Heard<'_>) {
        match token {}
    }
    fn row(&mut self, _: &mut Core<S>, row: Never) {
        match row {}
    }
    fn hears(&self, _: &mut Ears) {}
    fn event(&mut self, _: &mut Core<S>, _: &Event) {}
    fn command(&mut self, _: &mut Core<S>, _: &Command) -> Option<Result<String, Fault>> {
        None
    }
    fn metrics(&self, _: &mut dyn FnMut(&'static str, u64)) {}
    fn readings(&self, _: &mut EachReading<'_>) {}
    fn renew(&mut self, _: &mut Core<S>, _: Nil) {}
    fn live(&self) -> usize {
        0
    }
}

impl<S, N, H, T> Hooks<S, N> for Cons<H, T>
where
    S: Has<H, N>,
    H: Module,
    T: Hooks<S, Succ<N>>,
    N: 'static,
{
    fn start(&mut self, core: &mut Core<S>) {
        self.head.start(&mut HostAt::<S, H, N>::new(core));
        self.tail.start(core);
    }
    fn stop(&mut self, core: &mut Core<S>) {
        self.head.stop(&mut HostAt::<S, H, N>::new(core));
        self.tail.stop(core);
    }
    fn request(&mut self, core: &mut Core<S>, request: &Arrived<'_>) -> Verdict {
        match self.head.request(&mut HostAt::<S, H, N>::new(core), request) {
            Verdict::Continue => self.tail.request(core, request),
            decided @ (Verdict::Reply(_) | Verdict::Taken | Verdict::Drop) => decided,
        }
    }
    fn forward(&mut self, core: &mut Core<S>, request: &Arrived<'_>, out: &mut Outgoing<'_>) {
        self.head.forward(&mut HostAt::<S, H, N>::new(core), request, out);
        self.tail.forward(core, request, out);
    }
    fn response(&mut self, core: &mut Core<S>, response: &Departing<'_>, edits: &mut Edits) {
        self.head.response(&mut HostAt::<S, H, N>::new(core), response, edits);
        self.tail.response(core, response, edits);
    }
    fn transaction_end(&mut self, core: &mut Core<S>, attached: Self::Attached) {
        self.head.transaction_end(&mut HostAt::<S, H, N>::new(core), attached.0);
        self.tail.transaction_end(core, attached.1);
    }
    fn timer(&mut self, core: &mut Core<S>, timer: Self::Timer) {
        match timer {
            Either::Left(own) => self.head.timer(&mut HostAt::<S, H, N>::new(core), own),
            Either::Right(other) => self.tail.timer(core, other),
        }
    }
    fn closed(&mut self, core: &mut Core<S>, connection: ConnectionId) {
        self.head.closed(&mut HostAt::<S, H, N>::new(core), connection);
        self.tail.closed(core, connection);
    }
    fn peer(&mut self, core: &mut Core<S>, from: ShardId, message: Self::Peer) {
        match message {
            Either::Left(own) => self.head.peer(&mut HostAt::<S, H, N>::new(core), from, own),
            Either::Right(other) => self.tail.peer(core, from, other),
        }
    }
    fn answered(&mut self, core: &mut Core<S>, token: Self::Token, answer: Heard<'_>) {
        match token {
            Either::Left(own) => {
                self.head.answered(&mut HostAt::<S, H, N>::new(core), own, answer);
            }
            Either::Right(other) => self.tail.answered(core, other, answer),
        }
    }
    fn row(&mut self, core: &mut Core<S>, row: Self::Row) {
        match row {
            Either::Left(own) => self.head.row(&mut HostAt::<S, H, N>::new(core), own),
            Either::Right(other) => self.tail.row(core, other),
        }
    }
    fn hears(&self, ears: &mut Ears) {
        if H::LISTENS {
            self.head.hears(ears);
        }
        self.tail.hears(ears);
    }
    fn event(&mut self, core: &mut Core<S>, event: &Event) {
        if H::LISTENS {
            self.head.event(&mut HostAt::<S, H, N>::new(core), event);
        }
        self.tail.event(core, event);
    }
    fn command(&mut self, core: &mut Core<S>, command: &Command) -> Option<Result<String, Fault>> {
        self.head
            .command(&mut HostAt::<S, H, N>::new(core), command)
            .or_else(|| self.tail.command(core, command))
    }
    fn metrics(&self, each: &mut dyn FnMut(&'static str, u64)) {
        self.head.metrics(each);
        self.tail.metrics(each);
    }
    fn readings(&self, each: &mut EachReading<'_>) {
        self.head.readings(each);
        self.tail.readings(each);
    }
    fn renew(&mut self, core: &mut Core<S>, fresh: Self) {
        let Cons { head, tail } = fresh;
        self.head.renew(&mut HostAt::<S, H, N>::new(core), head);
        self.tail.renew(core, tail);
    }
    fn live(&self) -> usize {
        self.head.live() + self.tail.live()
    }
}

/// What a routing writes: a tuple of modules, up to twelve.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not a tuple of modules",
    note = "write `type Modules = ();` or `type Modules = (Registrar, Dialog);`"
)]
pub trait Modules: Sized {
    /// The same modules as a list, after one more: the routing's own hooks stand first.
    type With<P: Module>: ModuleList;
    /// Puts the tuple's values into the list.
    fn with<P: Module>(self, first: P) -> Self::With<P>;
}

macro_rules! tuples {
    () => {
        impl Modules for () {
            type With<P: Module> = Cons<P, Nil>;
            fn with<P: Module>(self, first: P) -> Cons<P, Nil> {
                Cons { head: first, tail: Nil }
            }
        }
    };
    ($first:ident $($rest:ident)*) => {
        #[allow(non_snake_case, reason = "the type's letter names its value too")]
        impl<$first: Module, $($rest: Module),*> Modules for ($first, $($rest,)*) {
            type With<P: Module> = Cons<P, tuples!(@list $first $($rest)*)>;
            fn with<P: Module>(self, first: P) -> Self::With<P> {
                let ($first, $($rest,)*) = self;
                Cons { head: first, tail: tuples!(@value $first $($rest)*) }
            }
        }
        tuples!($($rest)*);
    };
    (@list) => { Nil };
    (@list $first:ident $($rest:ident)*) => { Cons<$first, tuples!(@list $($rest)*)> };
    (@value) => { Nil };
    (@value $first:ident $($rest:ident)*) => {
        Cons { head: $first, tail: tuples!(@value $($rest)*) }
    };
}
tuples!(A B C D E F G H I J K L M N O Q);
