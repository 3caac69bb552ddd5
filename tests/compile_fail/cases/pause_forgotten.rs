//! A pause that takes no time.
//!
//! Says: a pause does nothing unless awaited
#![deny(unused_must_use)]

use strowger::prelude::*;

struct Mine;

impl Routing for Mine {
    type Modules = ();

    async fn request(&self, mut request: Request<'_, Self>) -> Result<Answer, Reply> {
        request.pause(secs(1));
        Ok(request.relay_to_target().into())
    }
}

fn main() {}
