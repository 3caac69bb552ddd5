//! Something else than modules in the list of modules.
//!
//! Says: is not a tuple of modules

use strowger::prelude::*;

struct Mine;

impl Routing for Mine {
    type Modules = u32;

    async fn request(&self, request: Request<'_, Self>) -> Result<Answer, Reply> {
        let _ = request.method();
        Err(Reply::not_found())
    }
}

fn main() {}
