//! One way through a routing answers, another does not.
//!
//! Says: expected `Result<Answer, Reply>`, found `()`

use strowger::prelude::*;

struct Mine;

impl Routing for Mine {
    type Modules = ();

    async fn request(&self, mut request: Request<'_, Self>) -> Result<Answer, Reply> {
        if request.method() == MethodKind::Options {
            return Err(Reply::new(200));
        }
        match request.relay_to("sip:192.0.2.20").await {
            Outcome::Answered(_) => Ok(Answer::Done),
            Outcome::Failed(_) => {}
        }
    }
}

fn main() {}
