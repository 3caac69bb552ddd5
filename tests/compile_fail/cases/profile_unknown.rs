//! A profile's name is misspelt.
//!
//! Says: cannot find value `Costumers` in this scope
//! Says: a unit struct with a similar name exists

use strowger::prelude::*;

struct Customers;

impl Profile for Customers {
    const NAME: &'static str = "customers";
}

struct Mine;

impl Routing for Mine {
    type Modules = (Dialog,);

    async fn request(&self, mut request: Request<'_, Self>) -> Result<Answer, Reply> {
        request.dialog().reserve_in(Costumers, "acme", 30).await.or(Reply::busy_here())?;
        Ok(request.relay_to_target().into())
    }
}

fn main() {}
