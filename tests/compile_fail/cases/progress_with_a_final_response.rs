//! A final response where the call goes on.
//!
//! Says: expected `&Progress`, found `&Reply`

use strowger::prelude::*;

struct Mine;

impl Routing for Mine {
    type Modules = ();

    async fn request(&self, mut request: Request<'_, Self>) -> Result<Answer, Reply> {
        request.progress(&Reply::busy_here());
        Ok(request.relay_to_target().into())
    }
}

fn main() {}
