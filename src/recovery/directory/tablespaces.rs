//! Where the tablespaces of a restored cluster go.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};

use super::{Refused, is_empty};
use crate::backup::Manifest;

/// A tablespace and where it goes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TablespaceAt {
    /// Its OID.
    pub oid: u32,
    /// Where it was.
    pub from: PathBuf,
    /// Where it goes.
    pub to: PathBuf,
}

/// The backup's tablespaces, each where it goes.
pub(super) fn of(
    manifest: &Manifest,
    moved: &BTreeMap<PathBuf, PathBuf>,
) -> Result<Vec<TablespaceAt>, Refused> {
    let plain = |path: &Path| path.components().as_path().to_owned();
    let moved: BTreeMap<PathBuf, &PathBuf> =
        moved.iter().map(|(old, new)| (plain(old), new)).collect();
    let known: Vec<PathBuf> = manifest
        .tablespaces
        .iter()
        .map(|one| plain(Path::new(&one.path)))
        .collect();
    if let Some(old) = moved.keys().find(|old| !known.contains(old)) {
        let known: Vec<String> = known
            .iter()
            .map(|path| path.display().to_string())
            .collect();
        return Err(Refused::NoSuchTablespace {
            old: old.clone(),
            known: match known.is_empty() {
                true => "none".to_owned(),
                false => known.join(", "),
            },
        });
    }
    let at = manifest
        .tablespaces
        .iter()
        .zip(known)
        .map(|(one, from)| TablespaceAt {
            oid: one.oid,
            to: moved.get(&from).map_or(from.clone(), |to| plain(to)),
            from,
        });
    Ok(at.collect())
}

impl TablespaceAt {
    /// `ours`: what is in it is this cluster's.
    pub(super) fn check(
        &self,
        directory: &Path,
        ours: bool,
        others: &[TablespaceAt],
    ) -> Result<(), Refused> {
        let refuse = |why| {
            Err(Refused::Tablespace {
                oid: self.oid,
                from: self.from.clone(),
                to: self.to.clone(),
                why,
            })
        };
        if !self.to.is_absolute() {
            return refuse("is no absolute path");
        }
        if self.to.starts_with(directory) || directory.starts_with(&self.to) {
            return refuse("is not apart from the data directory");
        }
        if others.iter().any(|other| other.to == self.to) {
            return refuse("is another tablespace's place");
        }
        if ours {
            return Ok(());
        }
        match is_empty(&self.to) {
            Ok(true) => Ok(()),
            Ok(false) => refuse("is not empty"),
            Err(Refused::NoDirectory(_)) => refuse("is not a directory"),
            Err(error) => Err(error),
        }
    }

    /// Whether the cluster in `directory` has it there.
    pub(super) fn is_linked_in(&self, directory: &Path) -> bool {
        let link = directory.join("pg_tblspc").join(self.oid.to_string());
        fs::read_link(link).is_ok_and(|there| there == self.to)
    }
}
