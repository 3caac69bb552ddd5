//! A place in a profile is asked for, and the call goes on without one.
//!
//! Says: a limit that nobody looks at limits nothing
#![deny(unused_must_use)]

use strowger::prelude::*;

struct Mine;

impl Routing for Mine {
    type Modules = (Dialog,);

    async fn request(&self, mut request: Request<'_, Self>) -> Result<Answer, Reply> {
        request.dialog().reserve("caller", "alice", 2).await;
        Ok(request.relay_to_target().into())
    }
}

fn main() {}
