//! What a plain verify of a month costs: 30 days of a segment every five
//! minutes, in two stores.

use std::time::Instant;

use walkeep::{
    archive::object::metadata,
    codec::{About, Encoder, EncoderKind},
    postgres::{SegmentName, SegmentSize, TimelineId},
    store::{Body, Profile, RetryPolicy, Store},
};

use super::{
    Clouds,
    support::archive::{MIB, segment},
};

const SEGMENTS: u64 = 30 * 24 * 12;
const AT_ONCE: usize = 16;

/// `cargo test --release --test verify -- --ignored --nocapture a_month`
#[test]
#[ignore = "makes 8,640 objects in each of two buckets; measures"]
fn a_month_in_two_stores() {
    let it = Clouds::new();
    let runtime = tokio::runtime::Runtime::new().expect("make a runtime");
    let size = SegmentSize::new(MIB).expect("a size");
    for (name, server) in &it.servers {
        let location = server.location(Profile::R2, "wal");
        let store = name.parse().expect("a store's name");
        let _entered = runtime.enter();
        let store = Store::open(store, location, RetryPolicy::default()).expect("open it");
        let encoder = Encoder::new(EncoderKind::Auto, 6).expect("an encoder");
        runtime.block_on(async {
            use futures_util::{StreamExt, stream};
            let puts = (1..=SEGMENTS).map(|number| {
                let segment_name = SegmentName::numbered(number, TimelineId(1), size).to_string();
                let raw = segment(&segment_name, MIB, 3_000, number);
                let mut bytes = Vec::new();
                let about = About::new(&segment_name, jiff::Timestamp::now());
                let encoded = encoder
                    .encode(&raw, about, 1, &mut bytes)
                    .expect("encode it");
                let body = Body::bytes(bytes.into(), encoded.md5);
                let (store, metadata) = (store.clone(), metadata(&encoded.facts));
                async move {
                    let key = format!("main/wal/{segment_name}.gz");
                    store
                        .put_new(&key, &body, &metadata)
                        .await
                        .expect("store it");
                }
            });
            stream::iter(puts)
                .buffer_unordered(AT_ONCE)
                .collect::<Vec<()>>()
                .await;
        });
    }
    let timed = |arguments: &[&str]| {
        let begun = Instant::now();
        let ran = it.archive.run(arguments);
        assert_eq!(ran.code, 0, "{}", ran.stderr);
        println!("{arguments:?}: {:.2?}", begun.elapsed());
    };
    timed(&["catalog", "rebuild"]);
    for _ in 0..3 {
        timed(&["verify"]);
    }
    timed(&["verify", "--deep"]);
}
