//! A check is made that never runs.
//!
//! Says: futures do nothing unless you `.await` or poll them
#![deny(unused_must_use)]

use strowger::prelude::*;

struct Mine;

impl Routing for Mine {
    type Modules = (Auth,);

    async fn request(&self, mut request: Request<'_, Self>) -> Result<Answer, Reply> {
        request.authenticate("example.com");
        Ok(request.relay_to_target().into())
    }
}

fn main() {}
