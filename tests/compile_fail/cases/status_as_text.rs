//! A status in quotation marks.
//!
//! Says: expected `u16`, found `&str`

use strowger::prelude::*;

struct Mine;

impl Routing for Mine {
    type Modules = ();

    async fn request(&self, request: Request<'_, Self>) -> Result<Answer, Reply> {
        let _ = request.method();
        Err(Reply::new("486"))
    }
}

fn main() {}
