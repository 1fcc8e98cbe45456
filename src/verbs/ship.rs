//! `walkeep ship`.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

use super::{Host, NO, block_on, counted, print_json, progress};
use crate::{
    archive::ship::{Goal, Report, Seen, ship_observed},
    store::RetryPolicy,
};

pub(super) fn run(host: &Host) -> anyhow::Result<u8> {
    let shown = Arc::new(Shown::default());
    let bar = progress::show(!host.quiet, {
        let shown = Arc::clone(&shown);
        move || shown.look()
    });
    let report = block_on(async {
        let shipping = host.shipping(RetryPolicy::default())?;
        let observer = |seen: Seen<'_>| shown.observe(&seen);
        Ok(ship_observed(&shipping, Goal::Everything, &observer).await?)
    });
    bar.finish_and_clear();
    let report = report?;
    if host.json {
        print_json(&report)?;
    } else {
        print(&report)?;
    }
    Ok(if report.is_clean() { 0 } else { NO })
}

/// How far it has come, in raw bytes, once for each store.
#[derive(Default)]
struct Shown {
    sent: AtomicU64,
    total: AtomicU64,
}

impl Shown {
    fn observe(&self, seen: &Seen<'_>) {
        match seen {
            Seen::Begun { raw_bytes } => self.total.store(*raw_bytes, Ordering::Relaxed),
            Seen::Sent { raw_bytes, .. } => {
                self.sent.fetch_add(*raw_bytes, Ordering::Relaxed);
            }
            Seen::LaneEnded { .. } => {}
        }
    }

    fn look(&self) -> (u64, u64) {
        let sent = self.sent.load(Ordering::Relaxed);
        // What was owed as well is in no sum.
        (sent, self.total.load(Ordering::Relaxed).max(sent))
    }
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
