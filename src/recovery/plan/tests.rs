//! Scenarios, and random pasts.

mod case;
mod histories;
mod holes;
mod scenarios;
mod streamed;
pub(crate) mod world;
