//! Everything that a routing's author needs: `use strowger::prelude::*;`.

pub use strowger_modules::prelude::*;
