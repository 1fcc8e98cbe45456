//! Any text as a name, a position or a digest: what is accepted prints as it
//! was read, but for the letters' case where both are read.
#![no_main]

use libfuzzer_sys::fuzz_target;
use walkeep::{
    codec::Sha256,
    postgres::{Lsn, SegmentName, WalFileName},
};

fuzz_target!(|text: &str| {
    if let Ok(name) = text.parse::<WalFileName>() {
        assert_eq!(name.to_string(), text);
    }
    if let Ok(name) = text.parse::<SegmentName>() {
        assert_eq!(name.to_string(), text);
        assert_eq!(text.parse::<WalFileName>(), Ok(name.into()));
    }
    if let Ok(lsn) = text.parse::<Lsn>() {
        assert_eq!(lsn.to_string().parse(), Ok(lsn));
    }
    if let Ok(digest) = text.parse::<Sha256>() {
        assert_eq!(digest.to_string(), text.to_ascii_lowercase());
    }
});
