//! The formats of objects' bytes.

use std::{fmt, ops::RangeInclusive};

use serde::{Deserialize, Serialize};

/// The format of an object's bytes. A key's suffix says it
/// ([`layout`](crate::layout)).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Format {
    /// RFC 1952: what `gunzip` opens.
    Gzip,
    /// RFC 8878: what `zstd -d` opens.
    Zstd,
}

impl Format {
    /// Every format, in the order in which a reader should look for them.
    pub const ALL: [Format; 2] = [Format::Gzip, Format::Zstd];

    /// The levels that the configuration takes. zstd has higher ones: from 10
    /// on each of its compressors takes 24 MiB of memory and more.
    pub const LEVELS: RangeInclusive<u32> = 1..=9;

    /// The level where the configuration says none.
    pub fn default_level(self) -> u32 {
        match self {
            Format::Gzip => 9,
            Format::Zstd => 3,
        }
    }

    /// The others: where an object of the same name may be as well.
    pub fn others(self) -> impl Iterator<Item = Format> {
        Format::ALL.into_iter().filter(move |&other| other != self)
    }
}

impl fmt::Display for Format {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Format::Gzip => "gzip",
            Format::Zstd => "zstd",
        })
    }
}
