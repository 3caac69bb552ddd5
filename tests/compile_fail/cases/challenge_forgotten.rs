//! Credentials are checked, and the caller goes on whatever came of it.
//!
//! Says: unused `Result` that must be used
#![deny(unused_must_use)]

use strowger::prelude::*;

struct Mine;

impl Routing for Mine {
    type Modules = (Auth,);

    async fn request(&self, mut request: Request<'_, Self>) -> Result<Answer, Reply> {
        request.authenticate("example.com").await;
        Ok(request.relay_to_target().into())
    }
}

fn main() {}
