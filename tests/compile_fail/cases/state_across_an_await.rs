//! A module's state is held while something else goes on.
//!
//! Says: lifetime may not live long enough

use strowger::prelude::*;

struct Mine;

impl Routing for Mine {
    type Modules = (Dialog,);

    async fn request(&self, mut request: Request<'_, Self>) -> Result<Answer, Reply> {
        let dialog = request.module(|dialog: &mut Dialog, _, _| dialog);
        request.pause(secs(1)).await;
        let _ = dialog.bytes();
        Ok(request.relay_to_target().into())
    }
}

fn main() {}
