//! Who is answered.

use std::{
    fs::File,
    io::Read,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    path::{Path, PathBuf},
    sync::Arc,
};

use axum::{
    extract::{Request, State},
    http::{HeaderMap, Method, StatusCode, Uri, header},
    middleware::Next,
    response::{IntoResponse, Response},
};
use url::form_urlencoded;

use crate::{codec::Sha256, config::Listen};

/// What a browser gives back once it has shown the token.
const COOKIE: &str = "walkeep";
/// A token that is shorter could be tried out.
const SHORTEST: usize = 16;
/// A token file that is longer is none.
const LONGEST: u64 = 4096;

/// Who is answered, where the daemon listens.
pub(super) struct Guard {
    /// Whoever asks has to show what is in this file.
    token_file: Option<PathBuf>,
    /// The address that requests must be for; none where that does not matter:
    /// no name leads a browser to a Unix socket, and none makes it show a
    /// cookie of another.
    host: Option<IpAddr>,
}

impl Guard {
    pub(super) fn new(listen: &Listen, token_file: Option<PathBuf>) -> Self {
        let host = match listen {
            Listen::Tcp(address) if token_file.is_none() => Some(address.ip()),
            _ => None,
        };
        Guard { token_file, host }
    }
}

/// Lets a request through to what answers it, or answers why not.
pub(super) async fn admit(
    State(guard): State<Arc<Guard>>,
    request: Request,
    next: Next,
) -> Response {
    if request.method() != Method::GET && request.method() != Method::HEAD {
        let allow = [(header::ALLOW, "GET, HEAD")];
        let told = "this is to be read only\n";
        return (StatusCode::METHOD_NOT_ALLOWED, allow, told).into_response();
    }
    if let Some(ours) = guard.host
        && !is_for(request.headers(), ours)
    {
        let told = "walkeep is asked for as localhost or by its address: open an SSH tunnel, or \
                    set serve.token_file\n";
        return (StatusCode::MISDIRECTED_REQUEST, told).into_response();
    }
    match &guard.token_file {
        None => next.run(request).await,
        Some(file) => match token(file) {
            Ok(token) => with_token(&token, request, next).await,
            Err(reason) => {
                tracing::error!("serve.token_file \"{}\": {reason}", file.display());
                let told = "the token cannot be read here: see walkeep's log\n";
                (StatusCode::SERVICE_UNAVAILABLE, told).into_response()
            }
        },
    }
}

async fn with_token(token: &str, request: Request, next: Next) -> Response {
    let cookie = cookie_of(token);
    let headers = request.headers();
    let shown = bearer(headers).is_some_and(|shown| same(shown, token))
        || cookies(headers).any(|shown| same(shown, &cookie));
    if shown {
        return next.run(request).await;
    }
    if asked_with(request.uri()).is_some_and(|shown| same(&shown, token)) {
        // On to the same place, without the token in the address.
        let location = without_token(request.uri());
        let cookie = format!("{COOKIE}={cookie}; Path=/; HttpOnly; SameSite=Strict");
        let headers = [(header::LOCATION, location), (header::SET_COOKIE, cookie)];
        return (StatusCode::SEE_OTHER, headers).into_response();
    }
    let told = "show the token of serve.token_file: \"Authorization: Bearer TOKEN\", or once \
                /?token=TOKEN in a browser\n";
    let ask = [(header::WWW_AUTHENTICATE, "Bearer")];
    (StatusCode::UNAUTHORIZED, ask, told).into_response()
}

/// Whether a request is for this host by a name that only it has. A page of
/// somebody else's whose name was made to point here has that name in `Host`.
fn is_for(headers: &HeaderMap, ours: IpAddr) -> bool {
    let Some(host) = headers.get(header::HOST).and_then(|it| it.to_str().ok()) else {
        return false;
    };
    let name = match host.strip_prefix('[') {
        Some(rest) => rest.split(']').next().unwrap_or(rest),
        None => host.split(':').next().unwrap_or(host),
    };
    if name.eq_ignore_ascii_case("localhost") {
        return true;
    }
    let local = [
        IpAddr::V4(Ipv4Addr::LOCALHOST),
        IpAddr::V6(Ipv6Addr::LOCALHOST),
        ours,
    ];
    name.parse().is_ok_and(|address| local.contains(&address))
}

/// Read anew each time: changing it restarts nothing.
fn token(path: &Path) -> Result<String, String> {
    let read = || {
        let mut text = String::new();
        File::open(path)?.take(LONGEST).read_to_string(&mut text)?;
        Ok::<_, std::io::Error>(text)
    };
    let text = read().map_err(|error| error.to_string())?;
    let token = text.trim();
    if token.len() < SHORTEST {
        return Err(format!("a token has {SHORTEST} characters or more"));
    }
    Ok(token.to_owned())
}

/// Compares digests, so that the time it takes says nothing of the secret.
fn same(shown: &str, secret: &str) -> bool {
    let (shown, secret) = (
        Sha256::of(shown.as_bytes()).0,
        Sha256::of(secret.as_bytes()).0,
    );
    let pairs = shown.iter().zip(&secret);
    pairs.fold(0, |differ, (one, other)| differ | (one ^ other)) == 0
}

/// Not the token itself: what a browser keeps opens this page alone.
fn cookie_of(token: &str) -> String {
    Sha256::of(format!("walkeep page\0{token}").as_bytes()).to_string()
}

fn bearer(headers: &HeaderMap) -> Option<&str> {
    let text = headers.get(header::AUTHORIZATION)?.to_str().ok()?;
    let (scheme, token) = text.split_once(' ')?;
    (scheme.eq_ignore_ascii_case("bearer")).then_some(token.trim())
}

fn cookies(headers: &HeaderMap) -> impl Iterator<Item = &str> {
    let all = headers.get_all(header::COOKIE).into_iter();
    let all = all.filter_map(|it| it.to_str().ok());
    all.flat_map(|it| it.split(';')).filter_map(|pair| {
        let (name, value) = pair.trim().split_once('=')?;
        (name == COOKIE).then_some(value)
    })
}

fn asked_with(uri: &Uri) -> Option<String> {
    let mut pairs = form_urlencoded::parse(uri.query()?.as_bytes());
    let (_, value) = pairs.find(|(name, _)| name == "token")?;
    Some(value.into_owned())
}

fn without_token(uri: &Uri) -> String {
    let mut query = form_urlencoded::Serializer::new(String::new());
    let pairs = form_urlencoded::parse(uri.query().unwrap_or_default().as_bytes());
    query.extend_pairs(pairs.filter(|(name, _)| name != "token"));
    // One slash: `//host` would be another place.
    let path = uri.path().trim_start_matches('/');
    match query.finish().as_str() {
        "" => format!("/{path}"),
        query => format!("/{path}?{query}"),
    }
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;

    use super::*;

    #[test]
    fn only_names_of_this_host_are_ours() {
        let ours: IpAddr = "127.0.0.5".parse().unwrap();
        let asked = |host: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(header::HOST, HeaderValue::from_str(host).unwrap());
            is_for(&headers, ours)
        };
        for host in [
            "localhost",
            "LocalHost:9847",
            "127.0.0.1:9847",
            "127.0.0.5",
            "[::1]:80",
        ] {
            assert!(asked(host), "{host}");
        }
        for host in [
            "",
            "example.org",
            "example.org:9847",
            "localhost.example.org",
            "127.0.0.1.example.org",
            "192.0.2.1",
            "[::2]",
        ] {
            assert!(!asked(host), "{host}");
        }
        assert!(!is_for(&HeaderMap::new(), ours));
    }

    #[test]
    fn a_token_leaves_the_address_and_nothing_else_does() {
        for (asked, left) in [
            ("/?token=abc", "/"),
            ("/?span=day&token=abc&t=1", "/?span=day&t=1"),
            ("//example.org/?token=abc", "/example.org/"),
        ] {
            let uri: Uri = asked.parse().unwrap();
            assert_eq!(asked_with(&uri).as_deref(), Some("abc"), "{asked}");
            assert_eq!(without_token(&uri), left);
        }
    }

    #[test]
    fn a_token_opens_and_another_does_not() {
        assert!(same("0123456789abcdef", "0123456789abcdef"));
        assert!(!same("0123456789abcde", "0123456789abcdef"));
        assert!(!same("", "0123456789abcdef"));
        let mut headers = HeaderMap::new();
        headers.append(header::COOKIE, HeaderValue::from_static("a=1; walkeep=xyz"));
        assert_eq!(cookies(&headers).collect::<Vec<_>>(), ["xyz"]);
        headers.insert(
            header::AUTHORIZATION,
            HeaderValue::from_static("bearer  t "),
        );
        assert_eq!(bearer(&headers), Some("t"));
    }
}
