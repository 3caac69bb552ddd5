//! `reginfo_subscribe`, on requests.
//!
//! For: a routing that follows whoever it has just sent a REGISTER on for.

use super::watch::SUBSCRIBE_SECONDS;
use super::{NotFollowed, PuaReginfo};
use crate::pua::Wanted;
use strowger_sip::module::Has;
use strowger_sip::routing::{ListOf, Request, Routing};

/// Following registrations elsewhere.
pub trait Following<N> {
    /// Subscribes to the registration state of a URI for an hour.
    ///
    /// # Errors
    /// When that cannot be.
    fn reginfo_subscribe(&self, uri: &str) -> Result<(), NotFollowed>;

    /// The same for so many seconds; 0 ends it, and less than 0 is for ever.
    ///
    /// # Errors
    /// When that cannot be.
    fn reginfo_subscribe_for(&self, uri: &str, seconds: i64) -> Result<(), NotFollowed>;
}

impl<R: Routing, N> Following<N> for Request<'_, R>
where
    ListOf<R>: Has<PuaReginfo, N>,
{
    fn reginfo_subscribe(&self, uri: &str) -> Result<(), NotFollowed> {
        self.reginfo_subscribe_for(uri, SUBSCRIBE_SECONDS.into())
    }

    fn reginfo_subscribe_for(&self, uri: &str, seconds: i64) -> Result<(), NotFollowed> {
        let wanted = Wanted::from_number(seconds);
        self.module(|module: &mut PuaReginfo, host, _| module.follow(host, uri, wanted))
    }
}
