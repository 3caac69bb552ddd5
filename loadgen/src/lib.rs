//! x
mod desk;
mod scenario;
