//! A set of destinations may have none that is usable.
//!
//! Says: NoDestination>>` is not satisfied

use strowger::prelude::*;

struct Mine;

impl Routing for Mine {
    type Modules = (Dispatcher,);

    async fn request(&self, mut request: Request<'_, Self>) -> Result<Answer, Reply> {
        Ok(request.dispatcher().relay(1, Algorithm::RoundRobin).await.into())
    }
}

fn main() {}
