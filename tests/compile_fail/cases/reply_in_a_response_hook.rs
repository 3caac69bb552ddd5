//! A response is answered.
//!
//! Says: no method named `reply` found for mutable reference
//! Says: Response<'_>

use strowger::prelude::*;

struct Mine;

impl Routing for Mine {
    type Modules = ();

    async fn request(&self, mut request: Request<'_, Self>) -> Result<Answer, Reply> {
        Ok(request.relay_to_target().into())
    }

    fn response(&self, response: &mut Response<'_>) {
        response.reply(Reply::busy_here());
    }
}

fn main() {}
