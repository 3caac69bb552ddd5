//! A reply where an answer is wanted: the compiler says how to make one.
//!
//! Says: expected `Answer`, found `Reply`

use strowger::prelude::*;

struct Mine;

impl Routing for Mine {
    type Modules = ();

    async fn request(&self, mut request: Request<'_, Self>) -> Result<Answer, Reply> {
        if request.target().is_none() {
            return Ok(Reply::bad_request());
        }
        Ok(request.relay_to_target().into())
    }
}

fn main() {}
