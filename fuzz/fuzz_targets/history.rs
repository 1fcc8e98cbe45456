//! Any text as a history file: timelines rise, whatever it holds.
#![no_main]

use libfuzzer_sys::fuzz_target;
use walkeep::postgres::history::parse;

fuzz_target!(|text: &str| {
    if let Ok(ancestors) = parse(text) {
        assert!(
            ancestors
                .windows(2)
                .all(|pair| pair[0].timeline < pair[1].timeline)
        );
    }
});
