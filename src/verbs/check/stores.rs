//! Every store: whether it takes, gives and lists an object, whose archive is
//! there, what its key may do that it need not, and its clock.

use bytes::Bytes;
use futures_util::future::join_all;

use super::findings::{Findings, Severity};
use crate::{
    archive::{claim, place::Place, staging::Marker},
    cluster::Identity,
    config::{Config, StoreSettings},
    layout::{Generation, Key},
    postgres::SystemId,
    serve::alerts::{SKEW_CRITICAL, SKEW_WARNING},
    store::{Body, Location, Profile, StoreError},
    verbs::{Host, block_on, setup::PROMPT},
};

pub(super) fn examine(
    host: &Host,
    cluster: Option<&Identity>,
    marker: Option<&Marker>,
    findings: &mut Findings,
) -> anyhow::Result<()> {
    let ours = cluster.map(|cluster| cluster.system_id);
    let ours = ours.or_else(|| marker.map(|marker| marker.system_identifier));
    let found = block_on(async {
        let stores = host.config.stores.iter();
        let examined = stores.map(async |settings| {
            let mut examination = Examination {
                subject: format!("store {}", settings.name()),
                settings,
                findings: Findings::default(),
                failure: None,
            };
            match host.place(settings, PROMPT) {
                Ok(place) => {
                    if let Err(error) = examination.store(&place, ours).await {
                        examination.failure = Some(error);
                    }
                    examination.clock(&place);
                }
                Err(error) => examination.failure = Some(error),
            }
            examination
        });
        Ok(join_all(examined).await)
    })?;
    let one_works = found.iter().any(|one| one.failure.is_none());
    for mut examination in found {
        examination.conclude(one_works);
        findings.extend(examination.findings);
    }
    same_disk(&host.config, findings);
    Ok(())
}

struct Examination<'a> {
    subject: String,
    settings: &'a StoreSettings,
    findings: Findings,
    failure: Option<StoreError>,
}

impl Examination<'_> {
    fn add(&mut self, severity: Severity, what: impl Into<String>, next: impl Into<String>) {
        self.findings.add(severity, &self.subject, what, next);
    }

    async fn store(&mut self, place: &Place, ours: Option<SystemId>) -> Result<(), StoreError> {
        let key = place.layout.key(Key::Probe);
        // Another one each time: what was read is what was written now.
        let text = format!("walkeep check {:016x}\n", fastrand::u64(..));
        let written = Bytes::from(text);
        let body = Body::of(written.clone());
        place.store.replace(&key, &body, &[]).await?;
        let read = place.store.get_range(&key, 0..4096).await?;
        let listed = place.store.list(&key, None).next_page().await?;
        let whole = read.as_ref() == Some(&written);
        let listed = listed.iter().any(|object| object.key == key);
        match (whole, listed) {
            (true, true) => self
                .findings
                .ok(&self.subject, format!("writes, reads and lists \"{key}\"")),
            (false, _) => self.add(
                Severity::Loss,
                format!("\"{key}\" came back with other bytes than were written"),
                "something between here and the store answers for it: a cache, or a proxy",
            ),
            (true, false) => self.add(
                Severity::Loss,
                format!("\"{key}\" is there, and is not listed"),
                "let its key list the bucket",
            ),
        }
        self.owner(place, ours).await?;
        self.rights(place, &key).await
    }

    async fn owner(&mut self, place: &Place, ours: Option<SystemId>) -> Result<(), StoreError> {
        let key = place.layout.key(Key::Cluster(Generation::FIRST));
        let standing = match claim::standing(place, ours.unwrap_or(SystemId(0))).await {
            Ok(standing) => standing,
            Err(claim::ClaimError::Store(error)) => return Err(error),
            Err(error) => {
                self.add(
                    Severity::Loss,
                    error.to_string(),
                    "`walkeep init` says more",
                );
                return Ok(());
            }
        };
        let Some(file) = standing.file else {
            self.add(
                Severity::Loss,
                format!("there is no \"{key}\": the prefix is nobody's"),
                "run `walkeep init`",
            );
            return Ok(());
        };
        let newest = file.generations.iter().max_by_key(|one| one.generation);
        let newest = newest.map(|newest| newest.system_identifier);
        match (newest, ours) {
            (Some(theirs), Some(ours)) if theirs != ours => self.add(
                Severity::Loss,
                format!(
                    "the archive is that of the cluster \"{}\" ({theirs}), and this one is {ours}",
                    file.cluster
                ),
                "choose another `prefix` and run `walkeep init`; after pg_upgrade `walkeep init \
                 --upgraded`",
            ),
            _ => {}
        }
        Ok(())
    }

    /// Tries what a thief of the key would: only on the probe, and on the
    /// names of what lies beside the prefix.
    async fn rights(&mut self, place: &Place, probe: &str) -> Result<(), StoreError> {
        let deleted = place.store.delete(probe).await;
        let Location::S3(settings) = &self.settings.location else {
            return deleted;
        };
        if deleted.is_ok() {
            let next = match settings.profile {
                Profile::R2 => "add a bucket lock rule of the retention's length",
                Profile::B2 => {
                    "make a key with listFiles, readFiles and writeFiles, without deleteFiles, and \
                     turn object lock on"
                }
                Profile::S3 => "take s3:DeleteObject from the key, or turn object lock on",
            };
            self.add(
                Severity::Note,
                "its key can delete objects, which shipping does not need",
                next,
            );
        }
        let root = place.layout.root();
        if root.is_empty() {
            return Ok(());
        }
        let first = place.store.list("", None).first().await?;
        let mut foreign = first.filter(|object| !object.key.starts_with(root));
        if foreign.is_none() {
            // '0' follows '/': the first key behind all of ours.
            let behind = format!("{}0", root.trim_end_matches('/'));
            foreign = place.store.list("", Some(&behind)).first().await?;
        }
        if foreign.is_some() {
            self.add(
                Severity::Note,
                "its key reaches what lies beside the prefix",
                "use a bucket, and a key, for each host",
            );
        }
        Ok(())
    }

    fn clock(&mut self, place: &Place) {
        let Some(skew) = place.store.clock_skew() else {
            return;
        };
        let way = if skew < 0 { "behind" } else { "ahead of" };
        let what = format!("this host's clock is {} s {way} the store's", skew.abs());
        let next = "set this host's clock (NTP)";
        match skew.abs() {
            SKEW_CRITICAL.. => self.add(Severity::Loss, what, next),
            SKEW_WARNING.. => self.add(Severity::Warning, what, next),
            _ => {}
        }
    }

    /// A store that is down for a while loses nothing as long as another
    /// works; one that is set up wrongly never gets its copy.
    fn conclude(&mut self, one_works: bool) {
        let Some(error) = self.failure.take() else {
            return;
        };
        let severity = match error.is_permanent() || !one_works {
            true => Severity::Loss,
            false => Severity::Warning,
        };
        let (text, hint) = (error.to_string(), error.hint());
        let what = text.strip_prefix(&format!("store \"{}\": ", error.store));
        let what = what.unwrap_or(&text);
        let what = what.strip_suffix(&format!("; {hint}")).unwrap_or(what);
        let what = what.to_owned();
        self.add(severity, what, hint);
    }
}

/// A directory on the cluster's own disk is lost with it.
fn same_disk(config: &Config, findings: &mut Findings) {
    use std::os::unix::fs::MetadataExt;
    let device = |path: &std::path::Path| std::fs::metadata(path).ok().map(|found| found.dev());
    let data = config.cluster.data_directory.as_deref().and_then(device);
    for store in &config.stores {
        if let Location::Directory(path) = &store.location
            && data.is_some()
            && device(path) == data
        {
            findings.add(
                Severity::Warning,
                &format!("store {}", store.name()),
                "it is on the cluster's own file system, and is lost with it",
                "use another machine's disk, or a bucket",
            );
        }
    }
}
