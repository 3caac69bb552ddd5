//! One entry of the list of modules is no module.
//!
//! Says: is not a module

use strowger::prelude::*;

struct Mine;

impl Routing for Mine {
    type Modules = (Auth, Duration);

    async fn request(&self, request: Request<'_, Self>) -> Result<Answer, Reply> {
        let _ = request.method();
        Err(Reply::not_found())
    }
}

fn main() {}
