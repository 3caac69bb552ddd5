//! A user is said to be authenticated who has proved nothing.
//!
//! Says: due to private fields

use strowger::prelude::*;

struct Mine;

impl Routing for Mine {
    type Modules = (Auth, Location, Registrar);

    async fn request(&self, request: Request<'_, Self>) -> Result<Answer, Reply> {
        let who = Authenticated { user: "alice".into(), realm: "example.com".into() };
        Ok(request.save(who).await?.into())
    }
}

fn main() {}
