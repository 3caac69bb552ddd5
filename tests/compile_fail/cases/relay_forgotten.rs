//! A target is chosen, and nothing is sent there.
//!
//! Says: a relay happens when it is returned as the answer or awaited
#![deny(unused_must_use)]

use strowger::prelude::*;

struct Mine;

impl Routing for Mine {
    type Modules = ();

    async fn request(&self, mut request: Request<'_, Self>) -> Result<Answer, Reply> {
        request.relay_to("sip:192.0.2.20");
        Err(Reply::not_found())
    }
}

fn main() {}
