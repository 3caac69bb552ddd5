//! What a routing says to this module.
//!
//! For: publishing and subscribing from a routing, `pua_update_contact`.
//! Not here: NOTIFY of our own subscriptions, which no routing sees (`notify.rs`).

use super::Pua;
use super::api::{Known, Publication, Refused, Subscription, Taken};
use std::marker::PhantomData;
use strowger_sip::module::Has;
use strowger_sip::routing::{ListOf, Request, Routing};

/// Gives a request its `pua()`.
pub trait PuaRequest<'a, R: Routing, N> {
    /// The presence user agent.
    fn pua(&mut self) -> PuaOf<'_, 'a, R, N>;
}

impl<'a, R: Routing, N> PuaRequest<'a, R, N> for Request<'a, R>
where
    ListOf<R>: Has<Pua, N>,
{
    fn pua(&mut self) -> PuaOf<'_, 'a, R, N> {
        PuaOf { request: self, place: PhantomData }
    }
}

/// The presence user agent and one request.
#[must_use]
pub struct PuaOf<'q, 'a, R: Routing, N> {
    request: &'q mut Request<'a, R>,
    place: PhantomData<N>,
}

impl<R: Routing, N> PuaOf<'_, '_, R, N>
where
    ListOf<R>: Has<Pua, N>,
{
    /// Publishes, changes or removes a state; it is sent after this call, and a
    /// [`super::Report`] tells how it ended.
    ///
    /// # Errors
    /// When it cannot be published.
    pub fn send_publish(self, publication: Publication) -> Result<Taken, Refused> {
        self.request.module(|pua: &mut Pua, host, _| pua.send_publish(host, publication))
    }

    /// Begins, refreshes or ends a subscription.
    ///
    /// # Errors
    /// When it cannot be made.
    pub fn send_subscribe(self, subscription: Subscription) -> Result<Taken, Refused> {
        self.request.module(|pua: &mut Pua, host, _| pua.send_subscribe(host, subscription))
    }

    /// Whether this request is in a dialog of a subscription of this node.
    pub fn is_dialog(self) -> Known {
        let message = self.request.message();
        let Ok(call_id) = message.call_id() else { return Known::Unknown };
        let own = message.to_tag().unwrap_or_default();
        let peer = message.from_tag().unwrap_or_default();
        self.request.module(|pua: &mut Pua, _, _| pua.is_dialog(call_id, own, peer))
    }

    /// `pua_update_contact`: the remote target of a subscription follows every NOTIFY and answer by
    /// itself, so there is nothing left to do but to say whether the subscription is there.
    pub fn update_contact(self) -> Known {
        self.is_dialog()
    }
}
