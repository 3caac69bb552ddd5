//! Contacts are saved for whoever asks.
//!
//! Says: the trait bound `Registrant: From<&str>` is not satisfied

use strowger::prelude::*;

struct Mine;

impl Routing for Mine {
    type Modules = (Location, Registrar);

    async fn request(&self, request: Request<'_, Self>) -> Result<Answer, Reply> {
        Ok(request.save("alice").await?.into())
    }
}

fn main() {}
