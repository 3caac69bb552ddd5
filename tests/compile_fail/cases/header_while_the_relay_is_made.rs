//! A header is added between making a relay and sending it.
//!
//! Says: cannot borrow `request` as mutable more than once at a time

use strowger::prelude::*;

struct Mine;

impl Routing for Mine {
    type Modules = ();

    async fn request(&self, mut request: Request<'_, Self>) -> Result<Answer, Reply> {
        let relay = request.relay_to("sip:192.0.2.20");
        request.append_header("X-Late", "1")?;
        Ok(relay.into())
    }
}

fn main() {}
