//! What only a failed relay can tell is asked of any.
//!
//! Says: no method named `is_timeout` found for enum

use strowger::prelude::*;

struct Mine;

impl Routing for Mine {
    type Modules = ();

    async fn request(&self, mut request: Request<'_, Self>) -> Result<Answer, Reply> {
        let outcome = request.relay_to("sip:192.0.2.20").await;
        if outcome.is_timeout() {
            return Ok(request.relay_to("sip:voicemail@192.0.2.30").into());
        }
        Ok(outcome.into())
    }
}

fn main() {}
