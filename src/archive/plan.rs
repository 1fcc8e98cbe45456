//! What a recovery needs of the archive, settled before it begins: written by
//! `restore` beside the recovery settings, named in `restore_command`, read by
//! each `wal fetch`. It is what lets fetch tell the end of the WAL from a hole
//! in it, though one of the stores be down.
//!
//! ```json
//! {"format":1,"system_identifier":"7300000000000000001","segment_size":16777216,"generation":1,
//!  "stores":["r2"],"staging":false,
//!  "segments":[{"first":"000000010000000000000003","last":"000000010000000000000007"},
//!              {"first":"000000020000000000000007","last":"000000020000000000000009"}],
//!  "histories":[2]}
//! ```

use serde::{Deserialize, Serialize};

use super::format;
use crate::{
    layout::Generation,
    postgres::{SegmentName, SegmentSize, SystemId, TimelineId, WalFileName},
};

/// The format of the plan file that this program writes.
pub const FORMAT: u32 = 1;

/// A recovery's plan. Fields that this version does not know are skipped: they
/// are only ever added.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FetchPlan {
    /// [`FORMAT`] when it was written.
    pub format: u32,
    /// The cluster that is recovered.
    pub system_identifier: SystemId,
    /// The size of its segments, in bytes.
    pub segment_size: SegmentSize,
    /// Its generation of the archive.
    pub generation: Generation,
    /// The stores that were consulted, by their names in the configuration.
    /// Fetch asks these and no others.
    pub stores: Vec<String>,
    /// Whether staging was consulted, and is to be asked.
    pub staging: bool,
    /// The segments that recovery needs, in its order.
    pub segments: Vec<SegmentRange>,
    /// The timelines whose history files it needs.
    pub histories: Vec<TimelineId>,
    /// Segments that `restore` has put into `pg_wal` itself, from streamed
    /// parts: the archive is not asked for them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub placed: Vec<SegmentName>,
}

/// Segments of one timeline, one after the other, both ends included.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct SegmentRange {
    /// The first.
    pub first: SegmentName,
    /// The last, the same one or a later one of the same timeline.
    pub last: SegmentName,
}

/// The bytes are no plan that this program understands.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidPlan {
    /// Not JSON, or not with the fields that it must have.
    #[error("it cannot be read ({0})")]
    NotReadable(String),
    /// A newer walkeep wrote it.
    #[error("it has format {0}, this walkeep knows up to {FORMAT}: install the newer one")]
    Newer(u32),
    /// A range that is none.
    #[error("\"{first}\" to \"{last}\" is no range of segments of {size}")]
    Range {
        /// Its first segment.
        first: SegmentName,
        /// Its last.
        last: SegmentName,
        /// The plan's segment size.
        size: SegmentSize,
    },
    /// There is nobody to ask.
    #[error("it names neither a store nor staging")]
    NoSource,
}

impl FetchPlan {
    /// A plan without segments and history files yet: fill `segments` and
    /// `histories`, and the recovery needs nothing else.
    pub fn new(
        system_identifier: SystemId,
        segment_size: SegmentSize,
        generation: Generation,
        stores: Vec<String>,
        staging: bool,
    ) -> Self {
        FetchPlan {
            format: FORMAT,
            system_identifier,
            segment_size,
            generation,
            stores,
            staging,
            segments: Vec::new(),
            histories: Vec::new(),
            placed: Vec::new(),
        }
    }

    /// Reads a plan file.
    pub fn parse(bytes: &[u8]) -> Result<Self, InvalidPlan> {
        if let Some(format) = format::newer(bytes, FORMAT) {
            return Err(InvalidPlan::Newer(format));
        }
        let plan: FetchPlan = serde_json::from_slice(bytes)
            .map_err(|error| InvalidPlan::NotReadable(error.to_string()))?;
        if plan.stores.is_empty() && !plan.staging {
            return Err(InvalidPlan::NoSource);
        }
        let size = plan.segment_size;
        for &SegmentRange { first, last } in &plan.segments {
            let exists = first.number(size).is_some() && last.number(size).is_some();
            if !exists || first.timeline != last.timeline || first > last {
                return Err(InvalidPlan::Range { first, last, size });
            }
        }
        Ok(plan)
    }

    /// The plan file's bytes: indented, for whoever looks into it.
    pub fn to_json(&self) -> Vec<u8> {
        // Strings and numbers alone: there is nothing that JSON cannot hold.
        let mut bytes = serde_json::to_vec_pretty(self).unwrap_or_default();
        bytes.push(b'\n');
        bytes
    }

    /// Whether recovery needs the file, so that it must be somewhere.
    pub fn needs(&self, name: WalFileName) -> bool {
        match name {
            WalFileName::Segment(name) => self.range_of(name).is_some(),
            WalFileName::History(timeline) => self.histories.contains(&timeline),
            WalFileName::BackupHistory(..) | WalFileName::Partial(_) => false,
        }
    }

    /// Whether `restore` has put it into `pg_wal`, where PostgreSQL looks once
    /// it is told that the archive has it not.
    pub fn has_placed(&self, name: WalFileName) -> bool {
        matches!(name, WalFileName::Segment(name) if self.placed.contains(&name))
    }

    /// The segments that recovery will ask for after `name`, the next `count`
    /// of them, over the switch of a timeline. None after one that the plan
    /// does not hold.
    pub fn after(&self, name: SegmentName, count: usize) -> Vec<SegmentName> {
        let Some(index) = self.range_of(name) else {
            return Vec::new();
        };
        let mut following = Vec::with_capacity(count);
        let mut next = name.next(self.segment_size);
        for (position, range) in self.segments.iter().enumerate().skip(index) {
            if position > index {
                next = Some(range.first);
            }
            while let Some(segment) = next.filter(|segment| *segment <= range.last) {
                if following.len() == count {
                    return following;
                }
                following.push(segment);
                next = segment.next(self.segment_size);
            }
        }
        following
    }

    fn range_of(&self, name: SegmentName) -> Option<usize> {
        self.segments.iter().position(|range| {
            name.timeline == range.first.timeline && (range.first..=range.last).contains(&name)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plan() -> FetchPlan {
        let mut plan = FetchPlan::new(
            SystemId(7_300_000_000_000_000_001),
            SegmentSize::DEFAULT,
            Generation::FIRST,
            vec!["r2".to_owned()],
            false,
        );
        let range = |first: &str, last: &str| SegmentRange {
            first: first.parse().unwrap(),
            last: last.parse().unwrap(),
        };
        plan.segments = vec![
            range("0000000100000000000000FE", "000000010000000100000000"),
            range("000000020000000100000000", "000000020000000100000001"),
        ];
        plan.histories = vec![TimelineId(2)];
        plan
    }

    #[test]
    fn comes_back_as_it_was_written() {
        assert_eq!(FetchPlan::parse(&plan().to_json()), Ok(plan()));
        let added = String::from_utf8(plan().to_json()).unwrap().replacen(
            '{',
            "{\"added\":{\"later\":1},",
            1,
        );
        assert_eq!(FetchPlan::parse(added.as_bytes()), Ok(plan()));
    }

    #[test]
    fn what_is_not_understood_is_an_error() {
        let changed = |change: &dyn Fn(&mut FetchPlan)| {
            let mut plan = plan();
            change(&mut plan);
            FetchPlan::parse(&plan.to_json()).unwrap_err()
        };
        assert_eq!(changed(&|plan| plan.format = 2), InvalidPlan::Newer(2));
        let others = br#"{"stores":{"r2":{}},"segments":7,"format":2}"#;
        assert_eq!(FetchPlan::parse(others), Err(InvalidPlan::Newer(2)));
        assert_eq!(changed(&|plan| plan.stores.clear()), InvalidPlan::NoSource);
        let backwards = changed(&|plan| plan.segments[0].last = plan.segments[1].last);
        assert!(matches!(backwards, InvalidPlan::Range { .. }));
        for wrong in ["", "{}", "[1]", "{\"format\":1}"] {
            let read = FetchPlan::parse(wrong.as_bytes());
            assert!(matches!(read, Err(InvalidPlan::NotReadable(_))), "{wrong}");
        }
    }

    #[test]
    fn knows_what_recovery_needs() {
        let needs = |name: &str| plan().needs(name.parse().unwrap());
        assert!(needs("0000000100000000000000FE") && needs("0000000100000000000000FF"));
        assert!(needs("000000010000000100000000") && needs("000000020000000100000000"));
        assert!(needs("00000002.history"));
        assert!(!needs("0000000100000000000000FD") && !needs("000000010000000100000001"));
        assert!(!needs("000000020000000100000002") && !needs("00000003.history"));
        assert!(!needs("000000010000000100000000.partial"));
    }

    #[test]
    fn follows_recovery_over_the_switch_of_a_timeline() {
        let after = |name: &str, count| -> Vec<String> {
            let following = plan().after(name.parse().unwrap(), count);
            following.iter().map(SegmentName::to_string).collect()
        };
        assert_eq!(
            after("0000000100000000000000FF", 9),
            [
                "000000010000000100000000",
                "000000020000000100000000",
                "000000020000000100000001"
            ]
        );
        assert_eq!(
            after("000000010000000100000000", 1),
            ["000000020000000100000000"]
        );
        assert!(after("000000020000000100000001", 9).is_empty());
        assert!(after("000000030000000100000000", 9).is_empty());
    }
}
