//! A second answer, after the callee's went upstream.
//!
//! Says: borrow of moved value: `request`

use strowger::prelude::*;

struct Mine;

impl Routing for Mine {
    type Modules = ();

    async fn request(&self, mut request: Request<'_, Self>) -> Result<Answer, Reply> {
        match request.attempt_to("sip:192.0.2.20").await {
            Attempt::Answered(_) => Ok(request.relay_to("sip:192.0.2.30").into()),
            Attempt::Failed(failed, _) => Ok(failed.into()),
        }
    }
}

fn main() {}
