//! A header is added once the request has gone.
//!
//! Says: borrow of moved value: `request`

use strowger::prelude::*;

struct Mine;

impl Routing for Mine {
    type Modules = ();

    async fn request(&self, mut request: Request<'_, Self>) -> Result<Answer, Reply> {
        let attempt = request.attempt_to("sip:192.0.2.20").await;
        request.append_header("X-Late", "1")?;
        match attempt {
            Attempt::Answered(answer) => Ok(answer),
            Attempt::Failed(failed, _) => Ok(failed.into()),
        }
    }
}

fn main() {}
