//! An answer that says relay, and no target was chosen.
//!
//! Says: tuple struct constructor `Planned` is private

use strowger::prelude::*;

use strowger_sip::routing as strowger_planned;

struct Mine;

impl Routing for Mine {
    type Modules = ();

    async fn request(&self, request: Request<'_, Self>) -> Result<Answer, Reply> {
        let _ = request.method();
        Ok(Answer::Relay(strowger_planned::Planned(())))
    }
}

fn main() {}
