//! A way of choosing destinations that there is not.
//!
//! Says: no variant
//! Says: RoundRobin

use strowger::prelude::*;

struct Mine;

impl Routing for Mine {
    type Modules = (Dispatcher,);

    async fn request(&self, mut request: Request<'_, Self>) -> Result<Answer, Reply> {
        Ok(request.dispatcher().relay(1, Algorithm::RoundRobbin).await?.into())
    }
}

fn main() {}
