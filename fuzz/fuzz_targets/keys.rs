//! Any text as a prefix and a key: a key that is read is the one that would be
//! formed, and nothing leaves the prefix.
#![no_main]

use libfuzzer_sys::fuzz_target;
use walkeep::layout::{Layout, Prefix};

fuzz_target!(|texts: (&str, &str)| {
    let (prefix, below) = texts;
    let Ok(prefix) = prefix.parse::<Prefix>() else {
        return;
    };
    let layout = Layout::new(&prefix);
    assert!(!layout.root().split('/').any(|part| part == ".."));
    for key in [below.to_owned(), format!("{}{below}", layout.root())] {
        if let Some(read) = layout.parse(&key) {
            assert_eq!(layout.key(read), key);
        }
    }
});
