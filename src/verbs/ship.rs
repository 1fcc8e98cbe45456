//! `walkeep ship`.

use super::{Host, NO, block_on, counted, print_json};
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
        kept,
        kept_bytes,
        ..
    } = report;
    let raw = bytesize::ByteSize(*raw_bytes);
    let (files, waiting) = (
        counted(*files, "file", "files"),
        counted(*waiting, "waits", "wait"),
    );
    writeln!(out, "{files} ({raw}) left staging, {waiting}")?;
    for (store, taken) in &report.stores {
        let stored = bytesize::ByteSize(taken.stored_bytes);
        let objects = counted(taken.files, "object", "objects");
        writeln!(out, "  {store}: {objects} ({stored})")?;
    }
    if *kept > 0 {
        let kept = counted(*kept, "file stays", "files stay");
        let bytes = bytesize::ByteSize(*kept_bytes);
        writeln!(
            out,
            "  {kept} in staging ({bytes}), as retention.local_window says"
        )?;
    }
    if *owed > 0 {
        let owed = counted(*owed, "of them is", "of them are");
        writeln!(out, "  {owed} owed to a store that was away")?;
    }
    Ok(())
}
