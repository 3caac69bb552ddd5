//! A response is held up until something else has happened.
//!
//! Says: `await` is only allowed inside `async` functions and blocks

use strowger::prelude::*;

async fn ask(_: StatusCode) {}

struct Mine;

impl Routing for Mine {
    type Modules = ();

    async fn request(&self, mut request: Request<'_, Self>) -> Result<Answer, Reply> {
        Ok(request.relay_to_target().into())
    }

    fn response(&self, response: &mut Response<'_>) {
        ask(response.status()).await;
    }
}

fn main() {}
