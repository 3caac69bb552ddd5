//! A challenge is answered before anybody has challenged.
//!
//! Says: expected `&Failed`, found `&Outcome`

use strowger::prelude::*;

struct Mine;

impl Routing for Mine {
    type Modules = (Uac,);

    async fn request(&self, mut request: Request<'_, Self>) -> Result<Answer, Reply> {
        let outcome = request.relay_to("sip:192.0.2.20").await;
        if request.uac().auth(&outcome).is_ok() {
            return Ok(request.relay_to("sip:192.0.2.20").into());
        }
        Ok(outcome.into())
    }
}

fn main() {}
