//! Routing: what happens to a request, written as ordinary code and compiled in.
//!
//! For: the trait that a user of Strowger implements, and the types it works with.
//! Not here: polling (`task.rs`, `engine/`), forwarding rules (`proxy/`).
//! Invariants: a routing awaits only what the engine completes: a relay's outcome, another shard's
//! or storage's answer, a pause. Nothing of the shard's state is borrowed across an await.

mod answer;
mod attempt;
mod checks;
pub(crate) mod desk;
mod local;
mod measure;
mod policy;
mod relay;
mod request;
pub(crate) mod task;

pub use answer::{Answer, Failed, Outcome, Planned, Progress, Reply};
pub use attempt::Attempt;
pub use checks::{ChargingVector, DateCheck};
pub use local::{Completion, LocalRequest};
pub use policy::{Branch, Policy, Response};
pub use relay::{Destination, Relay, Relaying};
pub use request::{Pause, Request, RequestIds, Within};

use crate::module::{Event, Modules};
use std::future::Future;

/// A routing: the proxy's policy. One instance a shard, shared by all requests of that shard.
///
/// ```
/// use strowger_sip::message::MethodKind;
/// use strowger_sip::routing::{Answer, Outcome, Reply, Request, Routing};
///
/// struct ToTrunk;
///
/// impl Routing for ToTrunk {
///     type Modules = ();
///
///     async fn request(&self, mut request: Request<'_, Self>) -> Result<Answer, Reply> {
///         if let Some(within) = request.loose_route()? {
///             return Ok(within.relay().into());
///         }
///         if request.method() != MethodKind::Invite {
///             return Ok(request.relay_to_target().into());
///         }
///         request.record_route();
///         match request.relay_to("sip:192.0.2.20").await {
///             Outcome::Answered(_) => Ok(Answer::Done),
///             Outcome::Failed(failed) if failed.is_timeout() => {
///                 Ok(request.relay_to("sip:voicemail@192.0.2.30").into())
///             }
///             Outcome::Failed(failed) => Ok(failed.into()),
///         }
///     }
/// }
/// ```
#[doc = include_str!("from_kamailio.md")]
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not a routing",
    note = "implement `Routing`: name its modules and write `async fn request`"
)]
pub trait Routing: Sized + 'static {
    /// The modules it works with, a tuple of types: `()`, `(Registrar, Dialog)` ...
    type Modules: Modules;

    /// Whether it wants to hear its modules' events; see [`Routing::event`].
    const LISTENS: bool = false;

    /// Decides what happens to a request. `Err` is a reply too, so that `?` ends a routing early.
    ///
    /// Called once for each request that is not a retransmission, with its transaction created (and
    /// 100 sent to an INVITE); also for an ACK to a 2xx, which has no transaction and gets no
    /// reply. Not called for CANCEL and for the ACK to a negative response: those belong to their
    /// INVITE.
    fn request(&self, request: Request<'_, Self>) -> impl Future<Output = Result<Answer, Reply>>;

    /// Last changes to a branch before it is sent; called for each branch and each further address
    /// of it (a branch route).
    fn branch(&self, branch: &mut Branch<'_>) {
        let _ = branch;
    }

    /// Last changes to a response before it goes upstream, relayed or made here; 100 excepted (a
    /// reply route).
    fn response(&self, response: &mut Response<'_>) {
        let _ = response;
    }

    /// A module tells something: a call has started or ended, a contact has gone (an event route).
    /// Only called for a routing that listens.
    fn event(&self, event: &Event) {
        let _ = event;
    }
}

/// The list of a routing's modules; the routing's own hooks stand first.
pub type ListOf<R> = <<R as Routing>::Modules as Modules>::With<Policy<R>>;

#[cfg(test)]
mod tests;
