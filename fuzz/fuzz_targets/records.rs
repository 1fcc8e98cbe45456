//! Any bytes as a segment: decoded or refused, the same in one piece and in
//! many; what it carries over is taken or ignored by whatever comes next.
#![no_main]

use libfuzzer_sys::fuzz_target;
use walkeep::postgres::{
    moments::MOST_RESTORE_POINTS,
    record::{Walker, decode},
};

fuzz_target!(|bytes: &[u8]| {
    let whole = decode(bytes, None);
    // The first byte varies where the pieces are cut.
    let piece = bytes.first().map_or(1, |&byte| usize::from(byte) + 1);
    let mut walker = Walker::default();
    for piece in bytes.chunks(piece) {
        walker.feed(piece);
    }
    match (whole, walker.finish()) {
        (Ok((moments, carried)), Ok((pieces, _))) => {
            assert_eq!(moments, pieces);
            assert!(moments.restore_points.len() <= MOST_RESTORE_POINTS);
            assert_eq!(
                moments.first_commit.is_some(),
                moments.last_commit.is_some()
            );
            let _ = decode(bytes, carried);
        }
        (Err(one), Err(other)) => assert_eq!(one, other),
        (whole, pieces) => panic!("whole {whole:?}, in pieces {pieces:?}"),
    }
});
