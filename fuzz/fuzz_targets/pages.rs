//! Any bytes as a segment's first page, or as pg_control: read or refused,
//! and a header that is read fits exactly one name of its timeline.
#![no_main]

use libfuzzer_sys::fuzz_target;
use walkeep::postgres::{SegmentName, control::Control, page::SegmentHeader};

fuzz_target!(|bytes: &[u8]| {
    let _ = Control::parse(bytes);
    let Ok(header) = SegmentHeader::parse(bytes) else {
        return;
    };
    let size = header.segment_size;
    let name = SegmentName::containing(header.start, header.timeline, size);
    let fits = header.check(name, size.bytes()).is_ok();
    assert_eq!(
        fits,
        header.start.0 % size.bytes() == 0 && name.start(size) == Some(header.start)
    );
    if let Some(next) = name.next(size) {
        assert!(header.check(next, size.bytes()).is_err());
    }
});
