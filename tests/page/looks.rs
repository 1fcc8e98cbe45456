//! The page in Chromium, at two widths, by day and by night.

use std::path::{Path, PathBuf};

use super::{
    browser::Browser,
    scene::{MONTH, Scene},
};

const ON_ANY_PORT: &str = "listen = \"127.0.0.1:0\"";

/// Where the pictures go.
fn pictures() -> PathBuf {
    let directory = Path::new(env!("CARGO_TARGET_TMPDIR")).join("page");
    std::fs::create_dir_all(&directory).expect("make a directory");
    directory
}

/// Looks at a page in every way, and complains of what nobody should see.
fn look(browser: &mut Browser, url: &str, name: &str) {
    for (width, dark) in [(1280, false), (390, false), (1280, true), (390, true)] {
        browser.look_like(width, dark);
        browser.open(url);
        let scheme = if dark { "dark" } else { "light" };
        let path = pictures().join(format!("{name}-{width}-{scheme}.png"));
        browser.picture(&path);
        let widest = browser.ask("document.documentElement.scrollWidth").as_u64();
        assert_eq!(
            widest,
            Some(u64::from(width)),
            "{name} at {width}: it overflows"
        );
        assert_eq!(browser.complaints(), Vec::<String>::new(), "{name}");
        let base = url.split('?').next().unwrap().trim_end_matches('/');
        for asked in browser.asked() {
            // Chromium's own icon of a date's input is a `data:` address.
            let own = asked.starts_with(base) || asked.starts_with("data:");
            assert!(own, "{name} asks {asked}");
        }
    }
}

#[test]
fn the_page_is_whole_with_nothing_with_much_and_in_trouble() {
    let Some(mut browser) = Browser::start() else {
        return;
    };
    let mut empty = Scene::new(ON_ANY_PORT);
    let url = empty.start();
    look(&mut browser, &format!("{url}/"), "empty");

    let mut much = Scene::new(ON_ANY_PORT);
    much.fill(MONTH, 0..0);
    let url = much.start();
    look(&mut browser, &format!("{url}/"), "much");
    look(&mut browser, &format!("{url}/?span=day"), "day");

    let mut trouble = Scene::new(ON_ANY_PORT);
    trouble.fill(MONTH, 5000..5200);
    trouble.kill_store("b2");
    for number in 0..20 {
        trouble.stage(2, MONTH + number, (20 - number) * 300);
    }
    let url = trouble.start();
    look(&mut browser, &format!("{url}/"), "trouble");
}
