//! A branch is sent elsewhere, from where only its headers can be changed.
//!
//! Says: no method named `relay_to` found for mutable reference
//! Says: Branch<'_>

use strowger::prelude::*;

struct Mine;

impl Routing for Mine {
    type Modules = ();

    async fn request(&self, mut request: Request<'_, Self>) -> Result<Answer, Reply> {
        Ok(request.relay_to_target().into())
    }

    fn branch(&self, branch: &mut Branch<'_>) {
        branch.relay_to("sip:192.0.2.20");
    }
}

fn main() {}
