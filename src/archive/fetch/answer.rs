//! What a source says when it is asked for a file. Absent is not unable: the
//! two meet in no value.

use std::fmt;

use crate::{
    postgres::SegmentName,
    store::{StoreError, StoreName},
};

/// Where a file may be.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Source {
    /// The staging directory.
    Staging,
    /// What was fetched ahead.
    Spool,
    /// A store.
    Store(StoreName),
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Source::Staging => f.write_str("staging"),
            Source::Spool => f.write_str("spool"),
            Source::Store(name) => write!(f, "store \"{name}\""),
        }
    }
}

/// A source's answer.
#[derive(Debug)]
pub(super) enum Answer<T> {
    /// It has the file, and here is what was asked for, verified.
    Has(T),
    /// It has not given it.
    Not(Not),
}

/// Why a source did not give a file.
#[derive(Debug, Clone)]
pub(super) enum Not {
    /// It is proved absent there.
    Absent {
        /// A later segment of the same timeline that is there; looked for
        /// only where that matters.
        later: Option<SegmentName>,
    },
    /// There is something under its name that is not the file.
    Damaged {
        /// What is wrong with it.
        reason: String,
    },
    /// The source could not be asked.
    Unable(Trouble),
}

/// What kept a source from answering.
#[derive(Debug, Clone)]
pub(super) struct Trouble {
    /// Source, cause and hint, as an error says it.
    pub(super) text: String,
    /// Whether asking again may help by itself.
    pub(super) passing: bool,
}

impl From<StoreError> for Trouble {
    fn from(error: StoreError) -> Self {
        Trouble {
            passing: !error.is_permanent(),
            text: error.to_string(),
        }
    }
}

impl From<StoreError> for Not {
    fn from(error: StoreError) -> Self {
        Not::Unable(error.into())
    }
}

/// One source's answer, for the verdict over all of them.
#[derive(Debug, Clone)]
pub(super) struct Testimony {
    pub(super) source: Source,
    pub(super) said: Not,
}
