//! Who is answered, how, and where.

use std::{
    net::TcpListener,
    os::unix::{fs::PermissionsExt, net::UnixStream},
    time::{Duration, Instant},
};

use nix::sys::signal::Signal;

use super::{
    scene::{Answer, MONTH, PATIENCE, Scene, get, over, request},
    support::{archive::put, host::wait_until},
};

const ON_ANY_PORT: &str = "listen = \"127.0.0.1:0\"";

/// As a client asks that shows this.
fn ask(url: &str, path: &str, shown: &str) -> Answer {
    let host = url.strip_prefix("http://").expect("an address");
    let shown = if shown.is_empty() {
        String::new()
    } else {
        format!("{shown}\r\n")
    };
    request(
        host,
        &format!("GET {path} HTTP/1.1\r\nHost: {host}\r\n{shown}"),
    )
}

#[test]
fn answers_are_strict_and_change_nothing() {
    let mut scene = Scene::new(ON_ANY_PORT);
    let url = scene.start();
    let host = url.strip_prefix("http://").unwrap().to_owned();
    let page = get(&url);
    assert_eq!(page.code, 200, "{}", page.head);
    for (path, code, kind) in [
        ("/", 200, "text/html; charset=utf-8"),
        ("/style.css", 200, "text/css; charset=utf-8"),
        ("/good.svg", 200, "image/svg+xml"),
        (
            "/metrics",
            200,
            "application/openmetrics-text; version=1.0.0; charset=utf-8",
        ),
        ("/etc/passwd", 404, "text/plain; charset=utf-8"),
    ] {
        let answer = ask(&url, path, "");
        assert_eq!(answer.code, code, "{path}");
        for header in [
            &format!("content-type: {kind}") as &str,
            "content-security-policy: default-src 'none';",
            "frame-ancestors 'none'",
            "x-content-type-options: nosniff",
            "referrer-policy: no-referrer",
            "cache-control: no-store",
        ] {
            assert!(
                answer.head.contains(header),
                "{path}: {header}: {}",
                answer.head
            );
        }
    }
    assert!(!page.body.contains("<script") && !page.body.contains("style="));
    assert!(
        page.body.contains("Nothing can be restored yet"),
        "{}",
        page.body
    );
    let head = request(&host, &format!("HEAD / HTTP/1.1\r\nHost: {host}\r\n"));
    assert_eq!((head.code, head.body.as_str()), (200, ""));
    for method in ["POST", "PUT", "DELETE", "OPTIONS"] {
        let answer = request(&host, &format!("{method} / HTTP/1.1\r\nHost: {host}\r\n"));
        assert_eq!(answer.code, 405, "{method}");
        assert!(answer.head.contains("allow: get, head"), "{}", answer.head);
    }
    // A name of somebody else's that was made to point here.
    for other in ["example.org", "localhost.example.org", "192.0.2.1"] {
        let answer = request(&host, &format!("GET / HTTP/1.1\r\nHost: {other}\r\n"));
        assert_eq!(answer.code, 421, "{other}");
        assert!(answer.body.contains("SSH tunnel"), "{}", answer.body);
    }
    assert_eq!(scene.daemon.stop(), Some(0));
}

#[test]
fn a_token_opens_the_page_and_can_be_changed() {
    let mut scene = Scene::new(ON_ANY_PORT);
    let file = scene.archive.directory().join("token");
    put(&file, b"0123456789abcdef0123\n");
    scene.configure(&format!(
        "{ON_ANY_PORT}\ntoken_file = \"{}\"",
        file.display()
    ));
    let url = scene.start();
    let bearer = |token: &str| format!("Authorization: Bearer {token}");
    for shown in [
        "",
        &bearer("0123456789abcdef012"),
        "Cookie: walkeep=0123456789abcdef0123",
    ] {
        let refused = ask(&url, "/metrics", shown);
        assert_eq!(refused.code, 401, "{shown}");
        assert!(
            refused.body.contains("serve.token_file"),
            "{}",
            refused.body
        );
    }
    assert_eq!(
        ask(&url, "/metrics", &bearer("0123456789abcdef0123")).code,
        200
    );
    assert_eq!(ask(&url, "/?token=wrong", "").code, 401);

    let opened = ask(&url, "/?span=day&token=0123456789abcdef0123", "");
    assert_eq!(opened.code, 303);
    assert!(
        opened.head.contains("location: /?span=day\r\n"),
        "{}",
        opened.head
    );
    let cookie = opened.head.split("set-cookie: ").nth(1).expect("a cookie");
    assert!(cookie.contains("httponly; samesite=strict"), "{cookie}");
    assert!(!cookie.contains("0123456789abcdef0123"), "{cookie}");
    let cookie = format!("Cookie: {}", cookie.split(';').next().unwrap());
    assert_eq!(ask(&url, "/", &cookie).code, 200);

    put(&file, b"another token of some length\n");
    assert_eq!(ask(&url, "/", &cookie).code, 401);
    assert_eq!(
        ask(&url, "/", &bearer("another token of some length")).code,
        200
    );
    put(&file, b"short\n");
    assert_eq!(ask(&url, "/", &bearer("short")).code, 503);
    scene
        .daemon
        .wait_for_line("a token has 16 characters or more");
}

#[test]
fn a_socket_is_for_those_whom_its_mode_lets_in() {
    let mut scene = Scene::new(ON_ANY_PORT);
    let path = scene.archive.directory().join("page.sock");
    let serve = format!("listen = \"unix:{}\"", path.display());
    scene.configure(&serve);
    scene.start_and_wait("answers at unix:");
    let mode = std::fs::metadata(&path).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o660);
    let stream = UnixStream::connect(&path).unwrap();
    let answer = over(stream, "GET / HTTP/1.1\r\nHost: whatever\r\n");
    assert_eq!(answer.code, 200);
    // Killed, it leaves a socket that the next one takes over.
    scene.daemon.kill();
    assert!(path.exists());
    scene.start_and_wait("answers at unix:");
    assert_eq!(scene.daemon.stop(), Some(0));
    assert!(!path.exists());
}

#[test]
fn a_taken_port_stops_nothing_and_a_new_address_is_taken() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap();
    let mut scene = Scene::new(&format!("listen = \"{address}\""));
    scene.start_and_wait("it is tried again, and shipping goes on");
    let name = scene.stage(1, 1, 10);
    wait_until("it is shipped", PATIENCE, || {
        scene.archive.object("r2", &name).exists() && scene.archive.object("b2", &name).exists()
    });
    drop(taken);
    scene
        .daemon
        .wait_for_line(&format!("answers at http://{address}/"));
    assert_eq!(get(&format!("http://{address}")).code, 200);

    scene.configure(ON_ANY_PORT);
    scene.daemon.signal(Signal::SIGHUP);
    wait_until("it answers elsewhere", PATIENCE, || {
        !scene.address().ends_with(&address.to_string())
    });
    assert_eq!(get(&scene.address()).code, 200);
    wait_until("the old address is free", PATIENCE, || {
        std::net::TcpStream::connect(address).is_err()
    });
    scene.configure("listen = \"off\"");
    let last = scene.address();
    scene.daemon.signal(Signal::SIGHUP);
    wait_until("it does not answer", PATIENCE, || {
        std::net::TcpStream::connect(last.strip_prefix("http://").unwrap()).is_err()
    });
}

#[test]
fn a_month_takes_little_memory() {
    let mut scene = Scene::new(ON_ANY_PORT);
    scene.fill(MONTH, 0..0);
    let url = scene.start();
    get(&url);
    let health = get(&format!("{url}/healthz"));
    assert_eq!((health.code, health.body.as_str()), (200, "ok\n"));
    let mut longest = Duration::ZERO;
    for _ in 0..2 {
        // Looks anew.
        std::thread::sleep(Duration::from_millis(3100));
        let begun = Instant::now();
        let page = get(&url);
        longest = longest.max(begun.elapsed());
        assert!(page.body.len() < 128 << 10, "{}", page.body.len());
    }
    let status = std::fs::read_to_string(format!("/proc/{}/status", scene.daemon.id())).unwrap();
    let rss = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let rss: u64 = rss
        .and_then(|it| it.split_whitespace().next()?.parse().ok())
        .unwrap();
    eprintln!("a month's page: {longest:?}, then {rss} KiB");
    assert!(rss < 40 << 10, "{rss} KiB");
}
