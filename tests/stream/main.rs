//! `[stream]`: the segment that is still being written reaches the stores, and
//! a recovery from them alone loses no more than the interval. Real servers,
//! real SIGKILL.
#![allow(
    clippy::disallowed_methods,
    reason = "what a test writes need not survive a power cut"
)]

mod host_lost;
mod receiver;
#[path = "../support/mod.rs"]
mod support;
mod timelines;
mod world;
