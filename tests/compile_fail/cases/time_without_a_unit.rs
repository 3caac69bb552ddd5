//! Thirty of what?
//!
//! Says: expected `Duration`, found integer

use strowger::prelude::*;

struct Mine;

impl Routing for Mine {
    type Modules = ();

    async fn request(&self, mut request: Request<'_, Self>) -> Result<Answer, Reply> {
        Ok(request.relay_to_target().ring_for(30).into())
    }
}

fn main() {}
