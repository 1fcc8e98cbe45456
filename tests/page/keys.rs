//! The page by keyboard, mouse and finger.

use super::{browser::Browser, scene::Scene};

/// What is shown of the moments.
const SHOWN: &str = "[...document.querySelectorAll('.say')]\
    .filter(it => getComputedStyle(it).visibility == 'visible')\
    .map(it => it.innerText).join('|')";

/// What has the focus, and whether that can be seen.
const FOCUS: &str = "(() => { const it = document.activeElement; \
    const seen = it.type == 'radio' \
        ? getComputedStyle(it.nextElementSibling, '::after').outlineStyle \
        : getComputedStyle(it).outlineStyle; \
    return (it.id || it.className || it.tagName) + ' ' + it.tagName + ' ' + seen })()";

#[test]
fn every_moment_can_be_reached_by_every_means() {
    let Some(mut browser) = Browser::start() else {
        return;
    };
    let mut scene = Scene::new("listen = \"127.0.0.1:0\"");
    scene.fill(2000, 0..0);
    let url = scene.start();
    browser.look_like(1280, false);
    browser.open(&format!("{url}/?span=day"));

    // By Tab: each thing once, the moments as one.
    let mut stops = Vec::new();
    for _ in 0..60 {
        browser.press("Tab");
        let stop = browser.text(FOCUS);
        if stop.contains("BODY") || stops.contains(&stop) && stop.contains("skip") {
            break;
        }
        stops.push(stop);
    }
    let of = |kind: &str| stops.iter().filter(|stop| stop.contains(kind)).count();
    assert!(stops[0].contains("skip"), "{stops:?}");
    assert_eq!(
        stops
            .iter()
            .filter(|stop| stop.starts_with('m') && stop.contains("INPUT"))
            .count(),
        1,
        "{stops:?}"
    );
    assert_eq!(of("BUTTON"), 1, "{stops:?}");
    assert!(of("SUMMARY") >= 4, "{stops:?}");
    assert!(
        stops.iter().all(|stop| !stop.ends_with(" none")),
        "{stops:?}"
    );

    // By the arrow keys, along the line.
    let command = |text: &str| {
        let at = text.find("--to-time ").unwrap_or_else(|| panic!("{text}"));
        text[at..].split_whitespace().nth(1).unwrap().to_owned()
    };
    browser.ask("document.querySelector('.m input:checked').focus()");
    let first = command(&browser.text(SHOWN));
    browser.press("ArrowLeft");
    let earlier = command(&browser.text(SHOWN));
    assert!(earlier < first, "{earlier} {first}");

    // By the mouse: hovering shows, clicking stays.
    let place = |browser: &mut Browser, index: u32, of: &str| {
        let question = format!(
            "(() => {{ const it = document.querySelector('label.hit[for=m{index}]')\
             .getBoundingClientRect(); return it.{of} }})()"
        );
        browser.ask(&question).as_f64().expect("a number")
    };
    let (x, y) = (
        place(&mut browser, 40, "x") + 2.0,
        place(&mut browser, 40, "y") + 20.0,
    );
    browser.point(x, y, false);
    let hovered = command(&browser.text(SHOWN));
    assert!(hovered < earlier, "{hovered} {earlier}");
    browser.point(5.0, 5.0, false);
    assert_eq!(command(&browser.text(SHOWN)), earlier);
    browser.point(x, y, true);
    browser.point(5.0, 5.0, false);
    assert_eq!(command(&browser.text(SHOWN)), hovered);

    // Any other moment, to the second.
    let asked = hovered.trim_end_matches('Z').to_owned();
    let asked = format!("{}07", &asked[..asked.len() - 2]);
    browser.open(&format!("{url}/?span=hour&t={asked}"));
    assert_eq!(command(&browser.text(SHOWN)), format!("{asked}Z"));
    assert_eq!(browser.complaints(), Vec::<String>::new());
}
