//! `walkeep init` against a real server: what it makes, what it says, what it
//! refuses.
#![allow(
    clippy::disallowed_methods,
    reason = "what a test writes need not survive a power cut"
)]

mod binding;
mod configuration;
mod settings;
#[path = "../support/mod.rs"]
mod support;

use support::postgres::Cluster;

fn system_identifier(cluster: &Cluster) -> String {
    cluster.value("SELECT system_identifier::text FROM pg_control_system()")
}

fn setting(cluster: &Cluster, name: &str) -> String {
    cluster.value(&format!(
        "SELECT setting FROM pg_settings WHERE name = '{name}'"
    ))
}
