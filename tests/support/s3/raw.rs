//! A server that answers as a test tells it to: in the place of a provider
//! that misbehaves. Its client is the real one.

use std::{
    collections::BTreeMap,
    net::{Ipv4Addr, SocketAddr},
    sync::{Arc, Mutex},
    time::{Duration, SystemTime},
};

use rustls::{
    ServerConfig,
    pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer},
};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    net::TcpSocket,
    task::JoinHandle,
};
use tokio_rustls::TlsAcceptor;
use walkeep::store::{Location, Profile, RetryPolicy, S3Settings, Store, Timeouts};

use super::credentials;

pub const ACCESS_KEY: &str = "AKIAOFTHERAWSERVER";
pub const SECRET_KEY: &str = "SecretOfTheRawServer";

/// One request, as it came over the wire.
#[derive(Debug, Clone, Default)]
pub struct Request {
    pub method: String,
    /// Path and query.
    pub target: String,
    /// Names in lower case.
    pub headers: BTreeMap<String, String>,
    pub body: Vec<u8>,
}

impl Request {
    pub fn is_list(&self) -> bool {
        self.method == "GET" && self.target.contains("list-type=2")
    }

    pub fn is_versions(&self) -> bool {
        self.method == "GET" && self.target.contains("versions=")
    }

    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", String::as_str)
    }
}

/// What the server does with one request.
#[derive(Debug, Clone)]
pub struct Answer {
    head: String,
    body: Vec<u8>,
    /// How much of the body is sent before the connection ends.
    cut: Option<usize>,
    /// What happens to the request's body before anything is answered.
    intake: Intake,
    /// No answer at all after so many bytes of it: the connection stays open.
    stall: Option<usize>,
}

#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Intake {
    All,
    /// So many bytes; the connection is closed then.
    Cut(usize),
    /// None of it; the answer comes at once.
    None,
    /// None of it, and no answer.
    Never,
    /// So many bytes at a time, with pauses.
    Slowly(usize, Duration),
}

impl Answer {
    pub fn new(status: &str) -> Self {
        Answer {
            head: format!("HTTP/1.1 {status}\r\n"),
            body: Vec::new(),
            cut: None,
            intake: Intake::All,
            stall: None,
        }
    }

    /// An error as S3 gives it.
    pub fn error(status: &str, code: &str, message: &str) -> Self {
        Answer::new(status).body(format!(
            "<?xml version=\"1.0\"?><Error><Code>{code}</Code><Message>{message}</Message></Error>"
        ))
    }

    pub fn no_such_key() -> Self {
        Answer::error("404 Not Found", "NoSuchKey", "gone")
    }

    pub fn listing(contents: &str) -> Self {
        Answer::new("200 OK").body(format!(
            "<ListBucketResult><IsTruncated>false</IsTruncated>{contents}</ListBucketResult>"
        ))
    }

    pub fn no_versions() -> Self {
        Answer::new("200 OK")
            .body("<ListVersionsResult><IsTruncated>false</IsTruncated></ListVersionsResult>")
    }

    pub fn header(mut self, name: &str, value: impl std::fmt::Display) -> Self {
        self.head += &format!("{name}: {value}\r\n");
        self
    }

    pub fn body(mut self, body: impl Into<Vec<u8>>) -> Self {
        self.body = body.into();
        self
    }

    pub fn cut_after(mut self, bytes: usize) -> Self {
        self.cut = Some(bytes);
        self
    }

    pub fn stall_after(mut self, bytes: usize) -> Self {
        self.stall = Some(bytes);
        self
    }

    pub fn intake(mut self, intake: Intake) -> Self {
        self.intake = intake;
        self
    }

    /// As the answer to a PUT of this body.
    pub fn stored(request: &Request) -> Self {
        let md5 = walkeep::codec::Md5::of(&request.body);
        Answer::new("200 OK").header("ETag", format!("\"{md5}\""))
    }
}

/// What is to be done with a request, of which `n` came before it. Asked when
/// its headers are there, and again (unless the intake is another) when its
/// body is.
type Script = dyn Fn(&Request, usize) -> Answer + Send + Sync;

/// The server. Ends when dropped.
pub struct Raw {
    address: SocketAddr,
    requests: Arc<Mutex<Vec<Request>>>,
    task: JoinHandle<()>,
}

/// What a server that is known by a certificate of its own for `name` needs, and
/// that certificate in PEM.
pub fn self_signed(name: &str) -> (Arc<ServerConfig>, String) {
    let signed = rcgen::generate_simple_self_signed([name.to_owned()]).expect("sign");
    let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(signed.signing_key.serialize_der()));
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("TLS versions")
        .with_no_client_auth()
        .with_single_cert(vec![signed.cert.der().clone()], key)
        .expect("accept the certificate");
    (Arc::new(config), signed.cert.pem())
}

impl Raw {
    pub async fn start(script: impl Fn(&Request, usize) -> Answer + Send + Sync + 'static) -> Self {
        Self::start_with(None, script).await
    }

    /// With a certificate that it signed itself for `name`; that in PEM.
    pub async fn start_self_signed(
        name: &str,
        script: impl Fn(&Request, usize) -> Answer + Send + Sync + 'static,
    ) -> (Self, String) {
        let (config, certificate) = self_signed(name);
        let tls = TlsAcceptor::from(config);
        (Self::start_with(Some(tls), script).await, certificate)
    }

    async fn start_with(
        tls: Option<TlsAcceptor>,
        script: impl Fn(&Request, usize) -> Answer + Send + Sync + 'static,
    ) -> Self {
        let socket = TcpSocket::new_v4().expect("socket");
        // Little is on its way unread: the client notices what is done here.
        socket
            .set_recv_buffer_size(64 << 10)
            .expect("set the buffer");
        socket.bind((Ipv4Addr::LOCALHOST, 0).into()).expect("bind");
        let listener = socket.listen(64).expect("listen");
        let address = listener.local_addr().expect("an address");
        let requests = Arc::new(Mutex::new(Vec::new()));
        let (script, seen): (Arc<Script>, _) = (Arc::new(script), Arc::clone(&requests));
        let task = tokio::spawn(async move {
            loop {
                let (connection, _) = listener.accept().await.expect("accept");
                let (script, seen, tls) = (Arc::clone(&script), Arc::clone(&seen), tls.clone());
                tokio::spawn(async move {
                    match tls {
                        None => serve(connection, &*script, &seen).await,
                        Some(tls) => {
                            if let Ok(connection) = tls.accept(connection).await {
                                serve(connection, &*script, &seen).await;
                            }
                        }
                    }
                });
            }
        });
        Raw {
            address,
            requests,
            task,
        }
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// What came so far.
    pub fn requests(&self) -> Vec<Request> {
        self.requests.lock().expect("lock").clone()
    }

    /// `METHOD what` of each request, such as `GET list`.
    pub fn methods(&self) -> Vec<String> {
        let name = |request: &Request| match request {
            request if request.is_list() => "LIST".to_owned(),
            request if request.is_versions() => "VERSIONS".to_owned(),
            request => request.method.clone(),
        };
        self.requests().iter().map(name).collect()
    }

    pub fn settings(&self, profile: Profile) -> S3Settings {
        S3Settings {
            profile,
            endpoint: format!("http://{}", self.address),
            region: "auto".to_owned(),
            bucket: "bucket".to_owned(),
            credentials: credentials(ACCESS_KEY, SECRET_KEY),
            ca_file: None,
            allow_http: false,
            timeouts: Timeouts::default(),
        }
    }

    pub fn store(&self, profile: Profile, retry: RetryPolicy) -> Store {
        open(self.settings(profile), retry)
    }
}

impl Drop for Raw {
    fn drop(&mut self) {
        self.task.abort();
    }
}

pub fn open(settings: S3Settings, retry: RetryPolicy) -> Store {
    let name = "raw".parse().expect("a name");
    Store::open(name, Location::S3(settings), retry).expect("open the store")
}

/// So many attempts with short pauses.
pub fn attempts(attempts: u32) -> RetryPolicy {
    RetryPolicy {
        attempts,
        deadline: Duration::from_secs(30),
        base: Duration::from_millis(5),
        cap: Duration::from_millis(20),
    }
}

async fn serve<C: AsyncRead + AsyncWrite + Unpin>(
    mut connection: C,
    script: &Script,
    seen: &Mutex<Vec<Request>>,
) {
    let mut input = Vec::new();
    while let Some(mut request) = read_head(&mut connection, &mut input).await {
        let n = seen.lock().expect("lock").len();
        let length: usize = request.header("content-length").parse().unwrap_or(0);
        let mut answer = script(&request, n);
        match answer.intake {
            Intake::All | Intake::Slowly(..) => {
                if !take(&mut connection, &mut input, length, answer.intake).await {
                    return;
                }
                request.body = input.drain(..length).collect();
                answer = script(&request, n);
                seen.lock().expect("lock").push(request);
            }
            Intake::Cut(bytes) => {
                seen.lock().expect("lock").push(request);
                take(&mut connection, &mut input, bytes, Intake::All).await;
                return;
            }
            Intake::None => seen.lock().expect("lock").push(request.clone()),
            Intake::Never => {
                seen.lock().expect("lock").push(request);
                std::future::pending::<()>().await;
            }
        }
        if !send(&mut connection, &answer, seen).await {
            return;
        }
        if answer.intake == Intake::None {
            // As a server does that has said no: it does not wait for the rest.
            let _ = connection.shutdown().await;
            return;
        }
    }
}

async fn send<C: AsyncWrite + Unpin>(
    connection: &mut C,
    answer: &Answer,
    seen: &Mutex<Vec<Request>>,
) -> bool {
    let mut head = answer.head.clone();
    let lower = head.to_ascii_lowercase();
    if !lower.contains("\r\ndate:") {
        head += &format!("Date: {}\r\n", httpdate::fmt_http_date(SystemTime::now()));
    }
    if !lower.contains("\r\ncontent-length:") {
        head += &format!("Content-Length: {}\r\n", answer.body.len());
    }
    head += "\r\n";
    let to_head = seen
        .lock()
        .expect("lock")
        .last()
        .is_some_and(|last| last.method == "HEAD");
    let body: &[u8] = if to_head { b"" } else { &answer.body };
    let end = answer
        .cut
        .or(answer.stall)
        .unwrap_or(body.len())
        .min(body.len());
    if answer.stall != Some(0) && connection.write_all(head.as_bytes()).await.is_err() {
        return false;
    }
    if connection.write_all(&body[..end]).await.is_err() || connection.flush().await.is_err() {
        return false;
    }
    if answer.stall.is_some() {
        std::future::pending::<()>().await;
    }
    answer.cut.is_none()
}

async fn read_head<C: AsyncRead + Unpin>(
    connection: &mut C,
    input: &mut Vec<u8>,
) -> Option<Request> {
    let end = loop {
        if let Some(end) = input.windows(4).position(|four| four == b"\r\n\r\n") {
            break end;
        }
        if connection.read_buf(input).await.ok()? == 0 {
            return None;
        }
    };
    let head = String::from_utf8(input.drain(..end + 4).collect()).expect("ASCII");
    let mut lines = head.lines();
    let mut first = lines.next()?.split(' ');
    let headers = lines.filter_map(|line| line.split_once(": "));
    Some(Request {
        method: first.next()?.to_owned(),
        target: first.next()?.to_owned(),
        headers: headers
            .map(|(name, value)| (name.to_ascii_lowercase(), value.to_owned()))
            .collect(),
        body: Vec::new(),
    })
}

async fn take<C: AsyncRead + Unpin>(
    connection: &mut C,
    input: &mut Vec<u8>,
    length: usize,
    intake: Intake,
) -> bool {
    let (most, pause) = match intake {
        Intake::Slowly(most, pause) => (most, pause),
        _ => (1 << 20, Duration::ZERO),
    };
    let mut piece = vec![0; most];
    while input.len() < length {
        match connection.read(&mut piece).await {
            Ok(0) | Err(_) => return false,
            Ok(read) => input.extend_from_slice(&piece[..read]),
        }
        if !pause.is_zero() {
            tokio::time::sleep(pause).await;
        }
    }
    true
}
