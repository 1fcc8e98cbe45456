//! `cluster.json`: whose archive a store holds. One stands in each
//! generation; it is written once, by `init`.
//!
//! ```json
//! {"format":1,"cluster":"main","generations":[{"generation":1,
//!  "system_identifier":"7300000000000000001","segment_size":16777216,"postgres_major":15}]}
//! ```

use serde::{Deserialize, Serialize};

use super::format;
use crate::{
    layout::Generation,
    postgres::{SegmentSize, SystemId},
};

/// The format of `cluster.json` that this program writes.
pub const FORMAT: u32 = 1;

/// More bytes than any `cluster.json` has.
pub const LARGEST: u64 = 1 << 20;

/// What `cluster.json` says. Fields that this version does not know are
/// skipped: they are only ever added.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClusterFile {
    /// [`FORMAT`] when it was written.
    pub format: u32,
    /// The cluster's name in the configuration, for people.
    #[serde(default)]
    pub cluster: String,
    /// The generations that the archive had when it was written.
    #[serde(default)]
    pub generations: Vec<GenerationFacts>,
}

/// One generation of an archive: one system identifier's time in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct GenerationFacts {
    /// Its number, from 1.
    pub generation: Generation,
    /// The cluster whose WAL it holds.
    pub system_identifier: SystemId,
    /// The size of its segments, in bytes.
    pub segment_size: SegmentSize,
    /// The server's major version when the generation was opened; `None`
    /// where `init` could not ask it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub postgres_major: Option<u32>,
}

/// The bytes are no `cluster.json` that this program understands.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidClusterFile {
    /// Not JSON, or not with the fields that it must have.
    #[error("cluster.json cannot be read ({0})")]
    NotReadable(String),
    /// A newer walkeep wrote it.
    #[error(
        "cluster.json has format {0}, this walkeep knows up to {FORMAT}: install the newer one"
    )]
    Newer(u32),
}

impl ClusterFile {
    /// What `init` writes for an archive with these generations.
    pub fn new(cluster: &str, generations: Vec<GenerationFacts>) -> Self {
        ClusterFile {
            format: FORMAT,
            cluster: cluster.to_owned(),
            generations,
        }
    }

    /// Reads a stored `cluster.json`.
    pub fn parse(bytes: &[u8]) -> Result<Self, InvalidClusterFile> {
        if let Some(format) = format::newer(bytes, FORMAT) {
            return Err(InvalidClusterFile::Newer(format));
        }
        serde_json::from_slice(bytes)
            .map_err(|error| InvalidClusterFile::NotReadable(error.to_string()))
    }

    /// The bytes to store: indented, for whoever reads it without us.
    pub fn to_json(&self) -> Vec<u8> {
        // Strings and numbers alone: there is nothing that JSON cannot hold.
        let mut bytes = serde_json::to_vec_pretty(self).unwrap_or_default();
        bytes.push(b'\n');
        bytes
    }

    /// The generation of the cluster `system_id`; the newest, should it have
    /// several.
    pub fn generation_of(&self, system_id: SystemId) -> Option<&GenerationFacts> {
        let of_it = |facts: &&GenerationFacts| facts.system_identifier == system_id;
        let newest = |facts: &&GenerationFacts| facts.generation;
        self.generations.iter().filter(of_it).max_by_key(newest)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = r#"{"format":1,"cluster":"main","generations":[
        {"generation":1,"system_identifier":"7300000000000000001","segment_size":16777216,"postgres_major":15},
        {"generation":2,"system_identifier":"7300000000000000002","segment_size":1048576,"added":"later"}
    ],"added":{"later":true}}"#;

    #[test]
    fn is_read_as_documented_and_comes_back() {
        let file = ClusterFile::parse(TEXT.as_bytes()).unwrap();
        let second = file.generation_of(SystemId(7_300_000_000_000_000_002));
        assert_eq!(second.map(|facts| facts.generation), Some(Generation(2)));
        assert_eq!(file.generations[0].postgres_major, Some(15));
        assert_eq!(file.generation_of(SystemId(7)), None);
        assert_eq!(ClusterFile::parse(&file.to_json()), Ok(file));
    }

    #[test]
    fn what_is_not_understood_is_an_error() {
        let newer = TEXT.replace("\"format\":1", "\"format\":2");
        // What else may be of another type by then: all of it.
        let others = r#"{"generations":{"1":[]},"format":2,"cluster":7}"#;
        for newer in [newer.as_str(), others] {
            let read = ClusterFile::parse(newer.as_bytes());
            assert_eq!(read, Err(InvalidClusterFile::Newer(2)));
        }
        for wrong in ["", "[]", "{}", "{\"format\":1,\"generations\":[{}]}"] {
            let read = ClusterFile::parse(wrong.as_bytes());
            assert!(
                matches!(read, Err(InvalidClusterFile::NotReadable(_))),
                "{wrong}"
            );
        }
    }
}
