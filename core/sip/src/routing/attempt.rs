//! A relay that takes the request with it, and gives it back only when it failed.
//!
//! For: routings in which nothing can be relayed, answered or changed once a 2xx has gone upstream:
//! then there is no request left to do it with, and the compiler says so.
//! Not here: how a relay is awaited (`relay.rs`); `Outcome`, for routings that keep the request.

use super::{Answer, Failed, Outcome, Relay, Request, Routing};

/// How an attempt ended.
#[must_use = "an attempt that failed wants another one, or an answer"]
pub enum Attempt<'a, R: Routing> {
    /// A 2xx went upstream: this is the routing's answer.
    Answered(Answer),
    /// None did: the request is back, for another attempt or an answer.
    Failed(Failed, Request<'a, R>),
}

impl<'a, R: Routing> Request<'a, R> {
    /// Forwards as `relay` says.
    ///
    /// ```
    /// # use strowger_sip::routing::{Answer, Attempt, Reply, Request, Routing};
    /// # struct Two;
    /// # impl Routing for Two {
    /// # type Modules = ();
    /// async fn request(&self, request: Request<'_, Self>) -> Result<Answer, Reply> {
    ///     match request.attempt_by("sip:192.0.2.20").await {
    ///         Attempt::Answered(answer) => Ok(answer),
    ///         Attempt::Failed(failed, _) if failed.is_cancelled() => Ok(failed.into()),
    ///         Attempt::Failed(_, mut request) => Ok(request.relay_by("sip:192.0.2.30").into()),
    ///     }
    /// }
    /// # }
    /// ```
    pub async fn attempt(
        mut self,
        relay: impl for<'r> FnOnce(&'r mut Request<'a, R>) -> Relay<'r, 'a, R>,
    ) -> Attempt<'a, R> {
        let outcome = relay(&mut self).await;
        match outcome {
            Outcome::Answered(_) => Attempt::Answered(Answer::Done),
            Outcome::Failed(failed) => Attempt::Failed(failed, self),
        }
    }

    /// Forwards with another Request-URI, to where it says.
    pub async fn attempt_to(self, uri: impl AsRef<[u8]>) -> Attempt<'a, R> {
        self.attempt(|request| request.relay_to(uri)).await
    }

    /// Forwards with the Request-URI unchanged, to another next hop.
    pub async fn attempt_by(self, next_hop: impl AsRef<[u8]>) -> Attempt<'a, R> {
        self.attempt(|request| request.relay_by(next_hop)).await
    }
}
