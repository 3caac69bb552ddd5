//! The message as it came is changed, instead of what goes out.
//!
//! Says: no method named `append_header` found for struct

use strowger::prelude::*;

struct Mine;

impl Routing for Mine {
    type Modules = ();

    async fn request(&self, mut request: Request<'_, Self>) -> Result<Answer, Reply> {
        request.message().append_header("X-Account", "7");
        Ok(request.relay_to_target().into())
    }
}

fn main() {}
