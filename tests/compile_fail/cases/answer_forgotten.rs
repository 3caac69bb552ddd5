//! A routing ends without saying what becomes of the request.
//!
//! Says: expected `Result<Answer, Reply>`, found `()`

use strowger::prelude::*;

struct Mine;

impl Routing for Mine {
    type Modules = ();

    async fn request(&self, mut request: Request<'_, Self>) -> Result<Answer, Reply> {
        request.record_route();
    }
}

fn main() {}
