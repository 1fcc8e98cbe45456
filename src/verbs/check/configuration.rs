//! The configuration's own files: who may read the secrets, and whether the
//! catalog can be written.

use std::{os::unix::fs::PermissionsExt, path::Path};

use nix::unistd::{AccessFlags, access};

use super::findings::{Findings, Severity};
use crate::{
    catalog::Catalog,
    config::Config,
    store::{Location, S3Settings, Secret},
};

const SUBJECT: &str = "config";
const CATALOG: &str = "catalog";

pub(super) fn examine(config: &Config, findings: &mut Findings) {
    let what = match &config.path {
        Some(path) => format!("\"{}\"", path.display()),
        None => "the environment alone".to_owned(),
    };
    findings.ok(SUBJECT, what);
    for store in &config.stores {
        let Location::S3(settings) = &store.location else {
            continue;
        };
        if let Secret::File(path) = &settings.credentials.secret_access_key {
            secret_file(path, findings);
        }
        plain_http(&format!("store {}", store.name()), settings, findings);
    }
}

fn secret_file(path: &Path, findings: &mut Findings) {
    // What cannot be looked at is said by the store that needs it.
    let Ok(metadata) = std::fs::metadata(path) else {
        return;
    };
    if metadata.permissions().mode() & 0o007 != 0 {
        let path = path.display();
        findings.add(
            Severity::Warning,
            SUBJECT,
            format!("\"{path}\" holds a secret and can be read by others"),
            format!("chmod o-rwx \"{path}\""),
        );
    }
}

fn plain_http(subject: &str, settings: &S3Settings, findings: &mut Findings) {
    if !settings.endpoint.starts_with("http://") {
        return;
    }
    let what = "plain http: everything it is sent can be read on the way";
    if settings.allow_http {
        findings.add(Severity::Warning, subject, what, "use an https endpoint");
    } else {
        findings.add(
            Severity::Note,
            subject,
            "plain http, accepted on loopback only",
            "nothing to do on a machine for tests",
        );
    }
}

/// The catalog is an index: it is made anew from the stores where it is lost,
/// but a place that cannot be written will not get better by itself.
pub(super) fn examine_catalog(config: &Config, findings: &mut Findings) {
    let path = &config.catalog;
    let directory = path.parent().unwrap_or(Path::new("/"));
    if !directory.is_dir() {
        return findings.add(
            Severity::Warning,
            CATALOG,
            format!("the directory \"{}\" does not exist", directory.display()),
            "run `walkeep init`",
        );
    }
    let target = if path.exists() { path } else { directory };
    if let Err(error) = access(target, AccessFlags::R_OK | AccessFlags::W_OK) {
        let target = target.display();
        return findings.add(
            Severity::Warning,
            CATALOG,
            format!("\"{target}\" cannot be written: {}", error.desc()),
            "give it to the user that PostgreSQL runs as",
        );
    }
    let catalog = Catalog::at(path);
    let prepared = catalog.prepare();
    let wanted = prepared.and_then(|_| catalog.read(|reader| reader.wants_rebuild()));
    let shown = path.display();
    match wanted {
        Ok(None) => findings.ok(CATALOG, format!("\"{shown}\"")),
        Ok(Some(beginning)) => findings.add(
            Severity::Warning,
            CATALOG,
            format!(
                "\"{shown}\" does not know what the stores held at {:.0}",
                beginning.at
            ),
            "run `walkeep catalog rebuild`",
        ),
        Err(error) => findings.add(
            Severity::Warning,
            CATALOG,
            format!("\"{shown}\": {error}"),
            "run `walkeep catalog rebuild`",
        ),
    }
}
