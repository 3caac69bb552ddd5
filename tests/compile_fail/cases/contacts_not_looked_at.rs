//! A user who is not registered is forked to.
//!
//! Says: no method named `best` found for enum `Result<T, E>`

use strowger::prelude::*;

struct Mine;

impl Routing for Mine {
    type Modules = (Location, Registrar);

    async fn request(&self, mut request: Request<'_, Self>) -> Result<Answer, Reply> {
        let found = request.lookup().await;
        Ok(request.fork_to(found.best()).into())
    }
}

fn main() {}
