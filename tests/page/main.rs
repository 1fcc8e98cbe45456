//! The page, the metrics and the health check of a real daemon on a real
//! catalog: over plain HTTP, and in real Chromium.
#![allow(
    clippy::disallowed_methods,
    reason = "what a test writes need not survive a power cut"
)]

mod browser;
mod http;
mod keys;
mod looks;
mod metrics;
mod scene;
#[path = "../support/mod.rs"]
mod support;
