//! A web server of a few lines on loopback, which writes down what it is told.

use std::{
    io::{BufRead, BufReader, Read, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    sync::{Arc, Mutex},
    thread,
    time::Duration,
};

use serde_json::Value;

/// A request.
#[derive(Debug, Clone)]
pub struct Heard {
    /// Method and path.
    pub to: String,
    /// The header lines, in lower case.
    pub headers: Vec<String>,
    pub body: String,
}

impl Heard {
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|error| panic!("{error}: {}", self.body))
    }
}

/// A web server that answers with one status.
pub struct Web {
    address: SocketAddr,
    heard: Arc<Mutex<Vec<Heard>>>,
    status: Arc<Mutex<&'static str>>,
}

impl Web {
    pub fn start() -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).expect("listen");
        let web = Web {
            address: listener.local_addr().expect("an address"),
            heard: Arc::default(),
            status: Arc::new(Mutex::new("200 OK")),
        };
        let (heard, status) = (Arc::clone(&web.heard), Arc::clone(&web.status));
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let status = *status.lock().unwrap();
                if let Some(request) = read_request(stream, status) {
                    heard.lock().unwrap().push(request);
                }
            }
        });
        web
    }

    pub fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    /// From now on it answers with this.
    pub fn answer(&self, status: &'static str) {
        *self.status.lock().unwrap() = status;
    }

    pub fn heard(&self) -> Vec<Heard> {
        self.heard.lock().unwrap().clone()
    }

    /// What was told of the alert `id`: `raised`, `repeated`, `resolved`.
    pub fn told(&self, id: &str) -> Vec<String> {
        let about = self
            .heard()
            .into_iter()
            .filter(|heard| heard.to.starts_with("POST"));
        let about = about.map(|heard| heard.json());
        let about = about.filter(|message| message["alert"]["id"] == id);
        about
            .map(|message| message["event"].as_str().expect("an event").to_owned())
            .collect()
    }

    /// How often its path was called for a sign of life.
    pub fn calls(&self) -> usize {
        let heard = self.heard();
        heard
            .iter()
            .filter(|heard| heard.to.starts_with("GET"))
            .count()
    }
}

fn read_request(stream: TcpStream, status: &str) -> Option<Heard> {
    stream
        .set_read_timeout(Some(Duration::from_secs(20)))
        .ok()?;
    let mut reader = BufReader::new(stream.try_clone().ok()?);
    let mut lines = Vec::new();
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).ok()?;
        match line.trim_end() {
            "" => break,
            line => lines.push(line.to_owned()),
        }
    }
    let request = lines.first()?.trim_end_matches(" HTTP/1.1").to_owned();
    let headers: Vec<String> = lines[1..].iter().map(|line| line.to_lowercase()).collect();
    let length = headers
        .iter()
        .find_map(|line| line.strip_prefix("content-length: "));
    let mut body = vec![0; length.map_or(0, |length| length.parse().unwrap_or(0))];
    reader.read_exact(&mut body).ok()?;
    let answer = format!("HTTP/1.1 {status}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
    (&stream).write_all(answer.as_bytes()).ok()?;
    Some(Heard {
        to: request,
        headers,
        body: String::from_utf8(body).ok()?,
    })
}
