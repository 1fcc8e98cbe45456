//! `walkeep check`: the doctor. It changes nothing but one probe object in
//! each store, which it removes again.

mod command;
mod configuration;
mod findings;
mod postgres;
mod roundtrip;
mod staging;
mod stores;
mod stream;

use std::io::{self, Write};

use serde_json::json;

use self::findings::Findings;
use super::{Host, NO, print_json, this_cluster::ThisCluster};
use crate::{
    cli::{Check, Global},
    config::Config,
};

pub(super) fn run(global: &Global, args: &Check) -> anyhow::Result<u8> {
    if args.config_only {
        let config = Config::load(global.config.as_deref(), global.cluster.as_deref())?;
        print_configuration(&config, global.json)?;
        return Ok(0);
    }
    let host = Host::load(global)?;
    let mut findings = Findings::default();
    configuration::examine(&host.config, &mut findings);
    let mut cluster = match ThisCluster::find(&host.config) {
        Ok(cluster) => Some(cluster),
        Err(error) => {
            postgres::unknown(&error, &mut findings);
            None
        }
    };
    let rate = match &mut cluster {
        Some(cluster) => postgres::examine(global, &host.config, cluster, &mut findings),
        None => None,
    };
    let identity = cluster.as_ref().map(|cluster| cluster.identity);
    let staging = staging::examine(&host, identity.as_ref(), rate, &mut findings);
    let marker = staging.as_ref().map(|staging| staging.marker());
    stores::examine(&host, identity.as_ref(), marker, &mut findings)?;
    configuration::examine_catalog(&host.config, &mut findings);
    if args.roundtrip {
        roundtrip::examine(&host, cluster.as_mut(), staging.as_ref(), &mut findings);
    }
    findings.print(&host.config.cluster.name, host.json)?;
    Ok(if findings.loses_data() { NO } else { 0 })
}

fn print_configuration(config: &Config, as_json: bool) -> anyhow::Result<()> {
    let stores: Vec<&str> = config
        .stores
        .iter()
        .map(|store| store.name().as_str())
        .collect();
    let name = &config.cluster.name;
    if as_json {
        let document = json!({
            "ok": true,
            "cluster": name,
            "config": config.path,
            "stores": stores,
        });
        return print_json(&document);
    }
    let mut out = io::stdout().lock();
    let path = match &config.path {
        Some(path) => format!("\"{}\"", path.display()),
        None => "the environment".to_owned(),
    };
    let stores = stores.join(", ");
    writeln!(
        out,
        "{path} is a configuration: cluster {name}, stores {stores}"
    )?;
    Ok(())
}
