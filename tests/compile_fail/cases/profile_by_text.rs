//! A profile is named by any text.
//!
//! Says: `&str` is not a profile
//! Says: declare it once

use strowger::prelude::*;

struct Mine;

impl Routing for Mine {
    type Modules = (Dialog,);

    async fn request(&self, mut request: Request<'_, Self>) -> Result<Answer, Reply> {
        request.dialog().reserve_in("customers", "acme", 30).await.or(Reply::busy_here())?;
        Ok(request.relay_to_target().into())
    }
}

fn main() {}
