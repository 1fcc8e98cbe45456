//! The staging directory: bound to this cluster, writable, and with room.

use std::{os::unix::fs::MetadataExt, path::Path};

use nix::sys::statvfs::statvfs;

use super::{
    findings::{Findings, Severity},
    postgres::WalRate,
};
use crate::{
    archive::{
        ship::copies,
        staging::{Staged, Staging, StagingError},
    },
    catalog::Catalog,
    cluster::Identity,
    fs::Temporary,
    verbs::{Host, counted},
};

const SUBJECT: &str = "staging";
const DAY: f64 = 86400.0;

pub(super) fn examine(
    host: &Host,
    cluster: Option<&Identity>,
    rate: Option<WalRate>,
    findings: &mut Findings,
) -> Option<Staging> {
    let staging = match host.staging() {
        Ok(staging) => staging,
        Err(error) => {
            findings.add(
                Severity::Loss,
                SUBJECT,
                format!("{error}"),
                "mount its volume, or run `walkeep init`; PostgreSQL keeps its WAL until then",
            );
            return None;
        }
    };
    let marker = staging.marker();
    if let Some(cluster) = cluster
        && cluster.system_id != marker.system_identifier
    {
        findings.add(
            Severity::Loss,
            SUBJECT,
            format!(
                "\"{}\" belongs to the cluster {}, and this one is {}: every push is refused",
                staging.root().display(),
                marker.system_identifier,
                cluster.system_id
            ),
            "name another staging.path and run `walkeep init`; after pg_upgrade `walkeep init \
             --upgraded`",
        );
    }
    match Temporary::create(&staging.temporaries(), "check") {
        Ok(_) => {}
        Err(error) => findings.add(
            Severity::Loss,
            SUBJECT,
            format!("write to \"{}\": {error}", staging.root().display()),
            "give the directory to the user that PostgreSQL runs as",
        ),
    }
    room(host, &staging, rate, findings);
    if let Some(data) = &host.config.cluster.data_directory {
        shared_disk(staging.root(), data, findings);
    }
    Some(staging)
}

/// How much waits, how much more may, and how long that lasts.
fn room(host: &Host, staging: &Staging, rate: Option<WalRate>, findings: &mut Findings) {
    let (waiting, free) = match (waiting(host, staging), free(staging.root())) {
        (Ok(files), Ok(free)) => (files, free),
        (files, free) => {
            let error = files.err().map(|error| error.to_string());
            let error = error.or_else(|| free.err().map(|error| error.desc().to_owned()));
            return findings.add(
                Severity::Loss,
                SUBJECT,
                error.unwrap_or_default(),
                "look at the directory, its disk and its permissions",
            );
        }
    };
    let used: u64 = waiting.iter().map(|file| file.allocated).sum();
    let most = host.config.staging.max_size;
    let left = most.saturating_sub(used);
    let usable = left.min(free);
    let lasts = rate.map(|rate| usable as f64 / rate.0);
    let enough = match lasts {
        Some(seconds) => format!(", enough for {}", period(seconds)),
        None => String::new(),
    };
    let what = format!(
        "\"{}\": {} ({}), room for {}{enough}",
        staging.root().display(),
        counted(waiting.len() as u64, "file waits", "files wait"),
        size(used),
        size(usable)
    );
    if usable == 0 {
        findings.add(
            Severity::Loss,
            SUBJECT,
            format!("{what}: pushes fail, and PostgreSQL keeps its WAL"),
            "run `walkeep ship`; see which store does not take it",
        );
    } else if free < left {
        findings.add(
            Severity::Warning,
            SUBJECT,
            format!(
                "{what}; staging.max_size allows {} more than its disk has",
                size(left - free)
            ),
            "enlarge the disk, or lower staging.max_size so that `status` warns in time",
        );
    } else if lasts.is_some_and(|seconds| seconds < DAY) {
        findings.add(
            Severity::Warning,
            SUBJECT,
            format!("{what}: an outage of the stores that is longer stops archiving"),
            "raise staging.max_size, on a larger disk",
        );
    } else {
        findings.ok(SUBJECT, what);
    }
}

/// What is in staging, but for what makes room where room is needed.
fn waiting(host: &Host, staging: &Staging) -> Result<Vec<Staged>, StagingError> {
    let stores = host.config.stores.iter().map(|store| store.name());
    match copies::tell_apart(staging, &Catalog::at(&host.config.catalog), stores) {
        Ok(apart) => Ok(apart.waiting),
        // Of the catalog: there is a finding of its own for that.
        Err(_) => staging.files(),
    }
}

/// What this user may still write, in bytes.
fn free(path: &Path) -> nix::Result<u64> {
    let found = statvfs(path)?;
    Ok(found.blocks_available() as u64 * found.fragment_size() as u64)
}

fn shared_disk(staging: &Path, data: &Path, findings: &mut Findings) {
    let device = |path: &Path| std::fs::metadata(path).ok().map(|found| found.dev());
    let (staging_device, wal_device) = (device(staging), device(&data.join("pg_wal")));
    if staging_device.is_some() && staging_device == wal_device {
        findings.add(
            Severity::Note,
            SUBJECT,
            "it shares a file system with pg_wal: when one fills it, both stop",
            "give staging a volume of its own",
        );
    }
}

/// `1.5 GiB`.
pub(super) fn size(bytes: u64) -> String {
    bytesize::ByteSize::b(bytes).display().iec().to_string()
}

fn period(seconds: f64) -> String {
    match seconds {
        s if s < 2.0 * 3600.0 => format!("{:.0} minutes of WAL", s / 60.0),
        s if s < 2.0 * DAY => format!("{:.0} hours of WAL", s / 3600.0),
        s if s < 1000.0 * DAY => format!("{:.0} days of WAL", s / DAY),
        _ => "years of WAL".to_owned(),
    }
}
