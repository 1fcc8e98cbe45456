//! Scenarios, and random pasts.

mod case;
mod histories;
mod holes;
mod scenarios;
pub(crate) mod world;
