//! Why a fetch ends recovery instead of answering.

use std::{fmt::Write, io, path::PathBuf};

use super::{
    Suspect,
    answer::{Not, Source, Testimony},
};
use crate::{
    archive::plan::InvalidPlan,
    postgres::{SegmentName, SystemId, WalFileName, control::InvalidControl},
};

/// The file could neither be fetched nor proved absent. PostgreSQL must not
/// take it for the end of the WAL: exit code 200.
#[derive(Debug, thiserror::Error)]
pub enum FetchError {
    /// The plan file could not be opened.
    #[error("read the plan \"{path}\": {source}")]
    ReadPlan {
        /// The plan file.
        path: PathBuf,
        /// The cause.
        source: io::Error,
    },
    /// The plan file cannot be used.
    #[error(
        "the plan \"{path}\": {reason}; `walkeep restore --plan` writes a new one, and without \
         `--plan` in restore_command every store is asked"
    )]
    Plan {
        /// The plan file.
        path: PathBuf,
        /// Why not.
        reason: InvalidPlan,
    },
    /// The plan names a store that the configuration has not.
    #[error(
        "the plan counts on store \"{0}\", which the configuration does not have; configure it \
         again, or plan the recovery anew"
    )]
    PlanStore(String),
    /// Which cluster asks cannot be told.
    #[error("read \"{path}\": {source}")]
    ReadControl {
        /// `global/pg_control`.
        path: PathBuf,
        /// The cause.
        source: io::Error,
    },
    /// Which cluster asks cannot be told.
    #[error("\"{path}\": {source}")]
    Control {
        /// `global/pg_control`.
        path: PathBuf,
        /// The cause.
        source: InvalidControl,
    },
    /// The WAL here is another cluster's.
    #[error(
        "wrong cluster: {asker} is of the cluster {expected}, {archive} of {found}; correct \
         `prefix` (or `bucket`) in the configuration, or `--config` in restore_command"
    )]
    OtherCluster {
        /// Who asks.
        asker: &'static str,
        /// Its system identifier.
        expected: SystemId,
        /// Where the other cluster's identifier was found.
        archive: String,
        /// The other cluster's.
        found: SystemId,
    },
    /// An archive of several clusters, and nobody says which is meant.
    #[error(
        "this archive holds the WAL of several clusters ({0}), and the working directory is no \
         data directory that would tell which is meant: run it in one, or name a plan"
    )]
    Ambiguous(String),
    /// The plan needs it, and nobody has it.
    #[error(
        "\"{name}\" is missing: this recovery needs it, and {asked} have it not: a hole in the \
         archive. Recovery cannot pass it; `walkeep wal list` shows what there is: bring the \
         file back from a copy, or restore to a moment before it"
    )]
    Hole {
        /// The file.
        name: WalFileName,
        /// Who was asked.
        asked: String,
    },
    /// Nobody has it, but the WAL goes on.
    #[error(
        "\"{name}\" is missing: {asked} have it not, but {source_of_later} has \"{later}\": a gap in the \
         archive. To end recovery here would lose what follows without a word; `walkeep wal list` \
         shows what there is: bring the file back from a copy, or restore to a moment before it"
    )]
    Gap {
        /// The file.
        name: WalFileName,
        /// Who was asked.
        asked: String,
        /// A later segment.
        later: SegmentName,
        /// Who has that.
        source_of_later: Source,
    },
    /// All that have it have it damaged.
    #[error(
        "\"{name}\" is damaged wherever it is: {reasons}. Recovery cannot pass it; bring the file \
         back from a copy, or restore to a moment before it"
    )]
    Damaged {
        /// The file.
        name: WalFileName,
        /// Who has it, and what is wrong with it.
        reasons: String,
        /// The copies in the stores.
        suspects: Vec<Suspect>,
    },
    /// Somebody who might have it could not be asked.
    #[error("\"{name}\" could neither be fetched nor proved absent: {reasons}")]
    Unknown {
        /// The file.
        name: WalFileName,
        /// Who could not be asked or has it damaged, and why.
        reasons: String,
    },
    /// Which generation of the archive to look into could not be learned.
    #[error("learn whose archive this is: {0}")]
    Unidentified(String),
    /// The file could not be put in place.
    #[error("put \"{path}\" in place: {source}")]
    Place {
        /// Where PostgreSQL wants it.
        path: PathBuf,
        /// The cause.
        source: io::Error,
    },
    /// What the daemon would have failed with.
    #[error("{0}")]
    Told(String),
    /// This process could not do its work.
    #[error("unpack \"{name}\": {reason}")]
    Unpack {
        /// The file.
        name: WalFileName,
        /// Why not.
        reason: String,
    },
}

impl FetchError {
    /// Whether the stores were asked, and this is what came of it: another
    /// process would hear the same.
    pub fn is_about_stores(&self) -> bool {
        matches!(
            self,
            FetchError::Hole { .. }
                | FetchError::Gap { .. }
                | FetchError::Damaged { .. }
                | FetchError::Unknown { .. }
                | FetchError::Unidentified(_)
        )
    }
}

/// "staging, store \"r2\" and store \"b2\"".
pub(super) fn all_of(testimony: &[Testimony]) -> String {
    let names: Vec<String> = testimony.iter().map(|one| one.source.to_string()).collect();
    match names.split_last() {
        None => "no source".to_owned(),
        Some((only, [])) => only.clone(),
        Some((last, others)) => format!("{} and {last}", others.join(", ")),
    }
}

/// What each of those said who are not simply without the file.
pub(super) fn reasons(testimony: &[Testimony]) -> String {
    let mut text = String::new();
    for one in testimony {
        let separator = if text.is_empty() { "" } else { "; " };
        // Writing to a string does not fail.
        let _ = match &one.said {
            Not::Absent { .. } => Ok(()),
            Not::Damaged { reason } => write!(text, "{separator}{}: {reason}", one.source),
            Not::Unable(trouble) => write!(text, "{separator}{}", trouble.text),
        };
    }
    text
}
