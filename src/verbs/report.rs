//! `walkeep report`: the day in some lines.

use std::io::Write;

use super::{Host, print_json};
use crate::serve::{
    alerts::{Thresholds, conditions},
    facts::Gatherer,
    report::Report,
};

pub(super) fn run(host: &Host) -> anyhow::Result<u8> {
    let facts = Gatherer::default().gather(&host.config);
    let conditions = conditions(&facts, Thresholds::of(&host.config));
    let report = Report::of(&facts, &conditions);
    if host.json {
        print_json(&report)?;
        return Ok(0);
    }
    let mut out = std::io::stdout().lock();
    let at = report.at.strftime("%Y-%m-%d %H:%M UTC");
    writeln!(
        out,
        "cluster {}, {at}: {}",
        report.cluster,
        Report::verdict(&conditions)
    )?;
    write!(out, "{report}")?;
    Ok(0)
}
