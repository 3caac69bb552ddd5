//! A function of a module that the routing does not have.
//!
//! Says: is not among this routing's modules
//! Says: add it to `type Modules = (...)` of the routing

use strowger::prelude::*;

struct Mine;

impl Routing for Mine {
    type Modules = (Auth,);

    async fn request(&self, mut request: Request<'_, Self>) -> Result<Answer, Reply> {
        Ok(request.dispatcher().relay(1, Algorithm::RoundRobin).await?.into())
    }
}

fn main() {}
