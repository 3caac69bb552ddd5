//! Only the good end of a relay is thought of.
//!
//! Says: non-exhaustive patterns
//! Says: Outcome::Failed(_)` not covered

use strowger::prelude::*;

struct Mine;

impl Routing for Mine {
    type Modules = ();

    async fn request(&self, mut request: Request<'_, Self>) -> Result<Answer, Reply> {
        match request.relay_to("sip:192.0.2.20").await {
            Outcome::Answered(_) => Ok(Answer::Done),
        }
    }
}

fn main() {}
