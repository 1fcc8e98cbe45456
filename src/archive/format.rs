//! The `format` of our JSON files: which walkeep can read them.

use serde::Deserialize;

/// The file's `format`, where it is higher than `known`. To be looked at
/// before the file's fields: a later format may have changed any other, and
/// what cannot be read for that reason is not damaged.
pub(super) fn newer(bytes: &[u8], known: u32) -> Option<u32> {
    #[derive(Deserialize)]
    struct Stamp {
        format: u32,
    }
    let stamp: Stamp = serde_json::from_slice(bytes).ok()?;
    Some(stamp.format).filter(|format| *format > known)
}
