//! Ways to tell somebody: tried, and failing.

use std::{fs, os::unix::fs::PermissionsExt, time::Duration};

use crate::{
    PATIENCE, Scene,
    listeners::Web,
    mail::{Mail, Tls},
    support::host::{hand_over, wait_until},
};

/// A file for the server's user alone; its path.
pub fn secret(scene: &Scene, name: &str, value: &str) -> String {
    let path = scene.archive.directory().join(name);
    fs::write(&path, format!("{value}\n")).expect("write it");
    hand_over(&path);
    path.display().to_string()
}

fn script(scene: &Scene, name: &str, text: &str) -> String {
    let path = secret(scene, name, text);
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).expect("chmod");
    path
}

/// What `OnFailure=` of the systemd units runs.
#[test]
fn every_sink_is_told_of_a_failed_unit() {
    let scene = Scene::new();
    scene.configure(
        "",
        "",
        "[[alerts.sink]]\nname = \"broken\"\ntype = \"command\"\ncommand = [\"/bin/false\"]\n",
    );
    let ran = scene
        .archive
        .run(&["alerts", "failed", "walkeep-backup@main.service"]);
    // That one sink fails keeps it from no other, and is not hidden.
    assert_eq!(ran.code, 1, "{}", ran.stderr);
    assert!(ran.stderr.contains("\"broken\""), "{}", ran.stderr);
    let told = scene.web.heard()[0].json();
    assert_eq!(told["event"], "failed");
    assert_eq!(told["alert"], serde_json::Value::Null);
    let title = told["title"].as_str().unwrap();
    assert!(
        title.contains("FAILED: walkeep-backup@main.service"),
        "{told}"
    );
}

#[test]
fn each_way_is_tried_by_itself() {
    let scene = Scene::new();
    let (mail, slack) = (Mail::start(Tls::No), Web::start());
    let out = scene.archive.directory().join("told");
    let page = script(
        &scene,
        "page",
        &format!("#!/bin/sh\ncat > {}", out.display()),
    );
    let tables = format!(
        "token_file = \"{}\"\n\
         [[alerts.sink]]\nname = \"ops\"\ntype = \"slack\"\nurl_file = \"{}\"\n\
         [[alerts.sink]]\ntype = \"smtp\"\nhost = \"127.0.0.1\"\nport = {}\ntls = \"none\"\n\
         from = \"walkeep <db@example.org>\"\nto = [\"one@example.org\", \"two@example.org\"]\n\
         username = \"db\"\npassword_file = \"{}\"\n\
         [[alerts.sink]]\ntype = \"command\"\ncommand = [\"{page}\"]\n\
         [[alerts.sink]]\nname = \"broken\"\ntype = \"command\"\ncommand = [\"/bin/false\"]\n\
         [[alerts.sink]]\nname = \"slow\"\ntype = \"command\"\n\
         command = [\"/bin/sleep\", \"60\"]\ntimeout = \"300ms\"\n",
        secret(&scene, "token", "s3cret-token"),
        secret(&scene, "url", &slack.url("/services/s3cret")),
        mail.port,
        secret(&scene, "password", "s3cret-password"),
    );
    scene.configure("", "", &tables);
    let test = |sink: &str| scene.archive.run(&["alerts", "test", sink]);
    for sink in ["webhook", "ops", "smtp", "command"] {
        let ran = test(sink);
        assert_eq!(ran.code, 0, "{sink}: {}", ran.stderr);
        assert_eq!(ran.stdout, format!("sink \"{sink}\" took the test\n"));
    }
    let hook = &scene.web.heard()[0];
    assert_eq!(
        (hook.to.as_str(), &hook.json()["event"]),
        ("POST /hook", &"test".into())
    );
    assert!(
        hook.headers
            .contains(&"authorization: bearer s3cret-token".to_owned())
    );
    let text = slack.heard()[0].json()["text"]
        .as_str()
        .expect("a text")
        .to_owned();
    assert!(text.starts_with("*[main] a test* on "), "{text}");
    wait_until("the mail is there", PATIENCE, || {
        !mail.received().is_empty()
    });
    let got = &mail.received()[0];
    assert!(got.to.contains("<one@example.org>") && got.to.contains("<two@example.org>"));
    assert!(
        got.body.contains("Subject: [main] a test\r\n"),
        "{}",
        got.body
    );
    assert_eq!(got.logins.len(), 1, "it said who it is: {got:?}");
    let told = fs::read_to_string(&out).expect("the command was run");
    assert!(
        told.starts_with(r#"{"event":"test","cluster":"main","#),
        "{told}"
    );

    test("broken").says(
        1,
        &["sink \"broken\" did not take the test: \"/bin/false\" failed"],
    );
    test("slow").says(1, &["did not end within 300ms, and was killed"]);
    test("opps").says(2, &["did you mean `ops`?"]);
    // Neither the URL nor the answer, which may repeat it.
    slack.answer("404 Not Found");
    let ran = test("ops");
    ran.says(
        1,
        &["sink \"ops\" did not take the test: the server answered 404"],
    );
    assert!(!ran.stderr.contains("s3cret"), "{}", ran.stderr);
    // It is known from then on, and over with the next one that is taken.
    let sinks = |scene: &Scene| {
        let attention = scene.status()["attention"].to_string();
        (
            attention.contains("sink \\\"ops\\\""),
            attention.contains("s3cret"),
        )
    };
    assert_eq!(sinks(&scene), (true, false));
    slack.answer("200 OK");
    assert_eq!(test("ops").code, 0);
    assert_eq!(sinks(&scene), (false, false));
    // The file is read each time.
    secret(&scene, "url", "http://example.org/s3cret");
    let ran = test("ops");
    ran.says(1, &["it is plain http beyond loopback"]);
    assert!(!ran.stderr.contains("s3cret"), "{}", ran.stderr);
}

/// What a sink does not take is tried again, told by the others, and holds up
/// nothing that is shipped.
#[test]
fn a_sink_that_fails_is_told_by_another_and_gets_it_later() {
    let mut scene = Scene::new();
    let other = Web::start();
    let table = format!(
        "[[alerts.sink]]\nname = \"other\"\ntype = \"webhook\"\nurl = \"{}\"\n",
        other.url("/hook")
    );
    scene.configure("high_water = \"0%\"", "report = \"every 1h\"", &table);
    other.answer("500 Oh No");
    scene.stores[1].stop();
    scene.start();
    scene.push(1);
    scene.wait_raised("owed/b");
    scene.wait_raised("sink/other");
    scene.push(2);
    scene.wait_shipped();
    assert!(!other.heard().is_empty(), "it was tried");
    other.answer("200 OK");
    scene.wait_resolved("sink/other");
    scene.stores[1].restart();
    scene.wait_resolved("owed/b");
    wait_until("the other knows it too", PATIENCE, || {
        other
            .told("owed/b")
            .last()
            .is_some_and(|last| last == "resolved")
    });

    // Due at once where it never was sent.
    let reports = scene
        .web
        .heard()
        .into_iter()
        .filter(|it| it.to.starts_with("POST"));
    let reports: Vec<_> = reports
        .map(|it| it.json())
        .filter(|it| it["event"] == "report")
        .collect();
    assert_eq!(reports.len(), 1, "{reports:?}");
    let text = reports[0]["text"].as_str().expect("a text");
    assert!(text.contains("\nrestore   nothing yet"), "{text}");

    // Idle, it takes next to nothing.
    let pid = scene.daemon.id();
    let ticks = || {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).expect("it runs");
        let fields: Vec<&str> = stat
            .rsplit(") ")
            .next()
            .expect("fields")
            .split(' ')
            .collect();
        let number = |index: usize| fields[index].parse::<u64>().expect("a number");
        number(11) + number(12)
    };
    let before = ticks();
    std::thread::sleep(Duration::from_secs(4));
    // It looks every second here, sixty times as often as it would.
    let spent = ticks() - before;
    assert!(spent <= 40, "{spent} ticks of 10 ms in 4 s");
    let status = fs::read_to_string(format!("/proc/{pid}/status")).expect("it runs");
    let resident = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    eprintln!(
        "idle: {spent} ticks in 4 s, {}",
        resident.unwrap_or("?").trim()
    );
}
