use super::*;

fn at(text: &str) -> Timestamp {
    text.parse().unwrap()
}

fn example(zoom: Zoom) -> Line<'static> {
    Line {
        zoom,
        window: 30 * DAY,
        now: at("2026-11-20T14:34:10Z"),
        asked: None,
        spans: vec![
            (at("2026-11-10T02:10:00Z"), at("2026-11-15T10:00:00Z")),
            (at("2026-11-16T02:10:00Z"), at("2026-11-20T14:30:00Z")),
        ],
        gaps: vec![(
            at("2026-11-15T10:00:00Z"),
            at("2026-11-15T12:00:00Z"),
            "000000010000000400000024".to_owned(),
        )],
        backups: vec![(at("2026-11-10T02:10:00Z"), "20261110T020000Z".to_owned())],
        switches: vec![(at("2026-11-12T00:00:00Z"), 2)],
        command: "walkeep",
    }
}

#[test]
fn moments_are_round_and_the_last_is_just_behind_now() {
    for (zoom, first, last) in [
        (Zoom::Hour, "2026-11-20T13:35:00Z", "2026-11-20T14:34:30Z"),
        (Zoom::Day, "2026-11-19T14:48:00Z", "2026-11-20T14:36:00Z"),
        (Zoom::Week, "2026-11-13T04:30:00Z", "2026-11-20T15:00:00Z"),
        (Zoom::Window, "2026-10-22T00:00:00Z", "2026-11-20T18:00:00Z"),
    ] {
        let line = example(zoom);
        assert_eq!(line.moment(0), at(first), "{zoom:?}");
        assert_eq!(line.moment(MOMENTS - 1), at(last), "{zoom:?}");
        // Each is in the middle of its own column.
        assert_eq!(line.place(line.moment(7)), 7.5);
    }
}

#[test]
fn each_moment_says_whether_it_can_be_restored() {
    let line = example(Zoom::Window);
    for (moment, state) in [
        ("2026-11-10T02:09:59Z", State::Before),
        ("2026-11-10T02:10:00Z", State::Within),
        (
            "2026-11-15T11:00:00Z",
            State::Gap("000000010000000400000024"),
        ),
        ("2026-11-15T18:00:00Z", State::Nowhere),
        ("2026-11-20T14:30:00Z", State::Within),
        ("2026-11-20T14:30:01Z", State::Behind),
    ] {
        assert_eq!(line.state(at(moment)), state, "{moment}");
    }
    let text = super::line(&line).into_string();
    assert_eq!(text.matches("type=\"radio\"").count(), MOMENTS as usize);
    assert_eq!(text.matches(" checked").count(), 1);
    assert!(
        text.contains("walkeep restore DIR --to-time 2026-11-20T12:00:00Z"),
        "{text}"
    );
    assert!(!text.contains("style="), "{text}");
    // The page's size does not grow with the archive's.
    assert!(text.len() < 100_000, "{}", text.len());
}

#[test]
fn the_moment_asked_for_is_in_sight_to_the_second() {
    let mut line = example(Zoom::Hour);
    line.asked = Some(at("2026-11-12T07:08:09Z"));
    let place = line.place(at("2026-11-12T07:08:09Z"));
    assert!((50.0..70.0).contains(&place), "{place}");
    let text = super::line(&line).into_string();
    assert!(text.contains("--to-time 2026-11-12T07:08:09Z"), "{text}");
    assert_eq!(text.matches(" checked").count(), 1);
}

#[test]
fn nothing_is_drawn_outside_the_line() {
    let line = example(Zoom::Day);
    let text = drawing(&line).into_string();
    // Gap, backup and switch are days ago.
    assert!(!text.contains("class=\"gap\"") && !text.contains("class=\"backup\""));
    assert_eq!(text.matches("class=\"within\"").count(), 1);
    for part in text.split(" x=\"").skip(1) {
        let x: f64 = part.split('"').next().unwrap().parse().unwrap();
        assert!((0.0..=MOMENTS as f64).contains(&x), "{x}");
    }
}
