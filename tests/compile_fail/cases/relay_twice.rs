//! Two relays of one request at once.
//!
//! Says: cannot borrow `request` as mutable more than once at a time

use strowger::prelude::*;

struct Mine;

impl Routing for Mine {
    type Modules = ();

    async fn request(&self, mut request: Request<'_, Self>) -> Result<Answer, Reply> {
        let first = request.relay_to("sip:192.0.2.20");
        let second = request.relay_to("sip:192.0.2.30");
        let _ = first.await;
        Ok(second.into())
    }
}

fn main() {}
