//! Chromium, driven over a pipe by its DevTools protocol: JSON in both
//! directions, each message ended by a NUL.

use std::{
    collections::VecDeque,
    fs::{File, OpenOptions},
    io::{BufRead, BufReader, Write},
    path::Path,
    process::{Child, Command, Stdio},
    sync::mpsc::{Receiver, channel},
    thread,
    time::{Duration, Instant},
};

use base64::{Engine, engine::general_purpose::STANDARD};
use nix::{sys::stat::Mode, unistd::mkfifo};
use serde_json::{Value, json};

use super::support::host::{TempDir, as_server_user, hand_over, skip};

/// Longer than anything takes.
const PATIENCE: Duration = Duration::from_secs(60);

/// Chromium with one tab.
pub struct Browser {
    process: Child,
    to: File,
    from: Receiver<Value>,
    next: u64,
    session: String,
    /// What happened, in order.
    events: VecDeque<Value>,
    _directory: TempDir,
}

impl Browser {
    /// None where there is no Chromium, and it is not required.
    pub fn start() -> Option<Self> {
        let known = ["chromium", "chromium-browser", "google-chrome"];
        let program = known.into_iter().find(|name| is_here(name));
        let Some(program) = program else {
            skip("Chromium", "install Debian's package chromium");
            return None;
        };
        let directory = TempDir::new();
        let (to, from) = (directory.join("to"), directory.join("from"));
        for pipe in [&to, &from] {
            mkfifo(pipe, Mode::from_bits_truncate(0o600)).expect("make a pipe");
            hand_over(pipe);
        }
        // It talks on the descriptors 3 and 4.
        let script = format!(
            "exec {program} --headless=new --no-sandbox --disable-gpu --disable-dev-shm-usage \
             --no-first-run --disable-background-networking --disable-component-update \
             --disable-sync --disable-extensions --hide-scrollbars --force-color-profile=srgb \
             --user-data-dir=\"$1\" --remote-debugging-pipe about:blank 3<\"$2\" 4>\"$3\""
        );
        let mut command = Command::new("/bin/sh");
        as_server_user(&mut command)
            .args(["-c", &script, "sh"])
            .arg(directory.subdirectory("profile"))
            .args([&to, &from])
            .env("HOME", directory.path())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        let process = command.spawn().expect("start Chromium");
        let to = OpenOptions::new()
            .write(true)
            .open(to)
            .expect("open a pipe");
        let mut browser = Browser {
            process,
            to,
            from: listen(&from),
            next: 0,
            session: String::new(),
            events: VecDeque::new(),
            _directory: directory,
        };
        let target = browser.call("Target.createTarget", json!({"url": "about:blank"}));
        let attach = json!({"targetId": target["targetId"], "flatten": true});
        let attached = browser.call("Target.attachToTarget", attach);
        browser.session = attached["sessionId"]
            .as_str()
            .expect("a session")
            .to_owned();
        for domain in ["Page", "Runtime", "Log", "Network"] {
            browser.call(&format!("{domain}.enable"), json!({}));
        }
        Some(browser)
    }

    /// As wide, and by day or by night.
    pub fn look_like(&mut self, width: u32, dark: bool) {
        let metrics = json!({
            "width": width, "height": 900, "deviceScaleFactor": 1, "mobile": width < 600,
        });
        self.call("Emulation.setDeviceMetricsOverride", metrics);
        let scheme = if dark { "dark" } else { "light" };
        let features = json!([{"name": "prefers-color-scheme", "value": scheme}]);
        self.call("Emulation.setEmulatedMedia", json!({"features": features}));
    }

    /// Goes to an address, and waits until everything is there.
    pub fn open(&mut self, url: &str) {
        self.events.clear();
        self.call("Page.navigate", json!({"url": url}));
        self.wait_for("Page.loadEventFired");
    }

    /// The value of an expression.
    pub fn ask(&mut self, expression: &str) -> Value {
        let question = json!({"expression": expression, "returnByValue": true});
        let answer = self.call("Runtime.evaluate", question);
        assert!(
            answer["exceptionDetails"].is_null(),
            "{expression}: {answer}"
        );
        answer["result"]["value"].clone()
    }

    pub fn text(&mut self, expression: &str) -> String {
        let value = self.ask(expression);
        value
            .as_str()
            .unwrap_or_else(|| panic!("{expression}: {value}"))
            .to_owned()
    }

    /// Presses a key.
    pub fn press(&mut self, key: &str) {
        let code = match key {
            "Tab" => 9,
            "ArrowLeft" => 37,
            "ArrowRight" => 39,
            "Enter" => 13,
            key => panic!("what is the code of {key:?}?"),
        };
        for kind in ["rawKeyDown", "keyUp"] {
            let press = json!({
                "type": kind, "key": key, "code": key, "windowsVirtualKeyCode": code,
            });
            self.call("Input.dispatchKeyEvent", press);
        }
    }

    /// Moves the mouse there, and clicks where `click` says so.
    pub fn point(&mut self, x: f64, y: f64, click: bool) {
        let kinds: &[&str] = match click {
            true => &["mouseMoved", "mousePressed", "mouseReleased"],
            false => &["mouseMoved"],
        };
        for kind in kinds {
            let button = if *kind == "mouseMoved" {
                "none"
            } else {
                "left"
            };
            let event = json!({"type": kind, "x": x, "y": y, "button": button, "clickCount": 1});
            self.call("Input.dispatchMouseEvent", event);
        }
    }

    /// All of the page as a picture.
    pub fn picture(&mut self, path: &Path) {
        let how = json!({"format": "png", "captureBeyondViewport": true});
        let taken = self.call("Page.captureScreenshot", how);
        let png = STANDARD.decode(taken["data"].as_str().expect("a picture"));
        std::fs::write(path, png.expect("Base64")).expect("write a picture");
    }

    /// What the console said since the page was opened, and what failed.
    pub fn complaints(&mut self) -> Vec<String> {
        // Whatever is still to come comes before the answer to this.
        self.ask("1");
        let said = [
            "Log.entryAdded",
            "Runtime.consoleAPICalled",
            "Runtime.exceptionThrown",
        ];
        let events = self.events.iter();
        events
            .filter(|event| said.contains(&event["method"].as_str().unwrap_or("")))
            .map(|event| event["params"].to_string())
            .collect()
    }

    /// Every address that was asked since the page was opened.
    pub fn asked(&mut self) -> Vec<String> {
        self.ask("1");
        let events = self.events.iter();
        let requests = events.filter(|event| event["method"] == "Network.requestWillBeSent");
        requests
            .filter_map(|event| event["params"]["request"]["url"].as_str())
            .map(str::to_owned)
            .collect()
    }

    /// Asks Chromium to do something, and waits until it is done.
    fn call(&mut self, method: &str, parameters: Value) -> Value {
        self.next += 1;
        let mut message = json!({"id": self.next, "method": method, "params": parameters});
        if !self.session.is_empty() && !method.starts_with("Target.") {
            message["sessionId"] = json!(self.session);
        }
        let mut text = message.to_string().into_bytes();
        text.push(0);
        self.to.write_all(&text).expect("write to Chromium");
        loop {
            let message = self.receive(method);
            if message["id"] == json!(self.next) {
                assert!(message["error"].is_null(), "{method}: {message}");
                return message["result"].clone();
            }
            self.events.push_back(message);
        }
    }

    fn wait_for(&mut self, method: &str) {
        let begun = Instant::now();
        while !self.events.iter().any(|event| event["method"] == method) {
            assert!(begun.elapsed() < PATIENCE, "{method} did not come");
            let message = self.receive(method);
            self.events.push_back(message);
        }
    }

    fn receive(&self, what: &str) -> Value {
        let message = self.from.recv_timeout(PATIENCE);
        message.unwrap_or_else(|error| panic!("{what}: Chromium says nothing: {error}"))
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn is_here(program: &str) -> bool {
    let mut look = Command::new("/bin/sh");
    let look = look.args(["-c", "command -v \"$1\" >/dev/null", "sh", program]);
    look.status().is_ok_and(|status| status.success())
}

/// Messages as they come.
fn listen(from: &Path) -> Receiver<Value> {
    let mut from = BufReader::new(File::open(from).expect("open a pipe"));
    let (sender, receiver) = channel();
    thread::spawn(move || {
        let mut message = Vec::new();
        while from
            .read_until(0, &mut message)
            .is_ok_and(|length| length > 0)
        {
            message.pop();
            let Ok(value) = serde_json::from_slice(&message) else {
                return;
            };
            if sender.send(value).is_err() {
                return;
            }
            message.clear();
        }
    });
    receiver
}
