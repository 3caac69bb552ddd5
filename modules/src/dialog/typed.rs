//! Profiles as types: a name that is misspelt does not compile.
//!
//! For: routings whose limits are fixed in the code; `reserve` takes names from configuration.
//! Not here: counting (`profile.rs`), the rules of a reservation (`reserve.rs`).

use super::Dialog;
use super::request::DialogOf;
use super::reserve::{Reserved, Sized as Size};
use strowger_sip::module::Has;
use strowger_sip::routing::{ListOf, Routing};

/// A profile with values. `[dialog] profiles_with_value` names it too.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not a profile",
    label = "a type that stands for a profile is wanted",
    note = "declare it once: `struct Customers;` and \
            `impl Profile for Customers {{ const NAME: &'static str = \"customers\"; }}`"
)]
pub trait Profile {
    /// Its name in configuration and commands.
    const NAME: &'static str;
}

impl<R: Routing, N> DialogOf<'_, '_, R, N>
where
    ListOf<R>: Has<Dialog, N>,
{
    /// [`DialogOf::reserve`], with a profile that the compiler knows.
    pub async fn reserve_in<P: Profile>(&mut self, _: P, value: &str, limit: u32) -> Reserved {
        self.reserve(P::NAME, value, limit).await
    }

    /// [`DialogOf::profile_size`], with a profile that the compiler knows.
    pub async fn size_of<P: Profile>(&self, _: P, value: &str) -> Size {
        self.profile_size(P::NAME, value).await
    }
}
