//! A module is used that the routing does not have.
//!
//! Says: is not among this routing's modules
//! Says: add it to `type Modules = (...)` of the routing

use strowger::prelude::*;

struct Mine;

impl Routing for Mine {
    type Modules = (Auth, Location);

    async fn request(&self, mut request: Request<'_, Self>) -> Result<Answer, Reply> {
        request.module(|dialog: &mut Dialog, _, _| dialog.bytes());
        Ok(request.relay_to_target().into())
    }
}

fn main() {}
