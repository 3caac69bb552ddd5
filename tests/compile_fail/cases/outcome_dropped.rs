//! A relay is awaited, and nobody looks how it ended.
//!
//! Says: Outcome` that must be used
#![deny(unused_must_use)]

use strowger::prelude::*;

struct Mine;

impl Routing for Mine {
    type Modules = ();

    async fn request(&self, mut request: Request<'_, Self>) -> Result<Answer, Reply> {
        request.relay_to("sip:192.0.2.20").await;
        Err(Reply::not_found())
    }
}

fn main() {}
