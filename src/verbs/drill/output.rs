//! What `drill` says.

use std::io::Write;

use bytesize::ByteSize;

use crate::{
    catalog::DrillRecord,
    verbs::{Host, print_json},
};

/// The drill has come to its end.
pub(super) fn done(host: &Host, record: &DrillRecord) -> anyhow::Result<()> {
    if host.json {
        print_json(record)?;
    } else {
        print(record)?;
    }
    if let Some(error) = &record.error {
        tracing::error!("the drill from store \"{}\" failed: {error}", record.store);
    }
    Ok(())
}

fn print(record: &DrillRecord) -> anyhow::Result<()> {
    let mut out = std::io::stdout().lock();
    let how = if record.ok { "good" } else { "failed" };
    writeln!(out, "drill     from store \"{}\": {how}", record.store)?;
    if let Some(backup) = record.backup {
        writeln!(out, "backup    {backup}")?;
    }
    writeln!(out, "target    {}", record.target)?;
    if let Some(time) = record.last_commit {
        writeln!(out, "reached   the last commit at {time}")?;
    }
    if let Some(seconds) = record.restore_seconds {
        let (written, fetched) = (ByteSize(record.bytes), ByteSize(record.fetched_bytes));
        writeln!(out, "restored  {written} from {fetched}, in {seconds:.1} s")?;
    }
    if let Some(seconds) = record.rto_seconds {
        writeln!(out, "answered  after {seconds:.1} s (RTO)")?;
    }
    for check in &record.checks {
        let mark = if check.ok { "ok    " } else { "failed" };
        let answer = check.answer.replace('\n', "\n          ");
        writeln!(out, "{mark}    {}: {answer}", check.check)?;
    }
    Ok(())
}
