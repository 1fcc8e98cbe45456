//! `walkeep ship`.

use super::{Host, NO, block_on, print_json};
use crate::{
    archive::ship::{Goal, Report, ship},
    store::RetryPolicy,
};

pub(super) fn run(host: &Host) -> anyhow::Result<u8> {
    let report = block_on(async {
        let shipping = host.shipping(RetryPolicy::default())?;
        Ok(ship(&shipping, Goal::Everything).await?)
    })?;
    if host.json {
        print_json(&report)?;
    } else {
        print(&report)?;
    }
    Ok(if report.is_clean() { 0 } else { NO })
}

fn print(report: &Report) -> anyhow::Result<()> {
    use std::io::Write;
    let mut out = std::io::stdout().lock();
    let Report {
        files,
        raw_bytes,
        owed,
        waiting,
        ..
    } = report;
    let raw = bytesize::ByteSize(*raw_bytes);
    writeln!(out, "{files} files ({raw}) left staging, {waiting} wait")?;
    for (store, taken) in &report.stores {
        let stored = bytesize::ByteSize(taken.stored_bytes);
        writeln!(out, "  {store}: {} objects ({stored})", taken.files)?;
    }
    if *owed > 0 {
        writeln!(out, "  {owed} of them are owed to a store that was away")?;
    }
    Ok(())
}
