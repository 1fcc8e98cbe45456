//! HTTP: webhooks, Slack, the heartbeat. A URL is a secret, and in no error.

use std::{error::Error, path::Path, time::Duration};

use reqwest::{Client, Request, Url};
use secrecy::{ExposeSecret, SecretString};

use super::SinkError;
use crate::{
    config::{Hook, callable},
    store::{Secret, trust},
};

/// Posts JSON.
pub(super) async fn post(hook: &Hook, json: Vec<u8>, patience: Duration) -> Result<(), SinkError> {
    let url = url(&hook.url, hook.allow_http)?;
    let client = client(hook.ca_file.as_deref(), patience)?;
    let mut request = client.post(url).header("content-type", "application/json");
    if let Some(token) = &hook.token {
        request = request.bearer_auth(reveal(token)?.expose_secret());
    }
    let request = request.body(json).build();
    execute(&client, request.map_err(|error| failed(&error))?).await
}

/// Calls the URL that waits for a sign of life.
pub async fn heartbeat(secret: &Secret, patience: Duration) -> Result<(), SinkError> {
    call(url(secret, false)?, patience).await
}

/// A GET whose answer has to be 2xx.
pub async fn call(url: Url, patience: Duration) -> Result<(), SinkError> {
    let client = client(None, patience)?;
    let request = client.get(url).build();
    execute(&client, request.map_err(|error| failed(&error))?).await
}

/// Nothing is kept open between two messages.
fn client(ca_file: Option<&Path>, patience: Duration) -> Result<Client, SinkError> {
    let client = Client::builder()
        .tls_backend_preconfigured(trust(ca_file).map_err(SinkError)?)
        .timeout(patience)
        .pool_max_idle_per_host(0)
        .redirect(reqwest::redirect::Policy::none())
        .retry(reqwest::retry::never())
        .user_agent(concat!("walkeep/", env!("CARGO_PKG_VERSION")));
    client.build().map_err(|error| failed(&error))
}

async fn execute(client: &Client, request: Request) -> Result<(), SinkError> {
    let answer = client.execute(request).await;
    let status = answer.map_err(|error| failed(&error))?.status();
    if status.is_success() {
        return Ok(());
    }
    // Not the body: it may repeat the URL.
    Err(SinkError(format!("the server answered {status}")))
}

fn url(secret: &Secret, allow_http: bool) -> Result<Url, SinkError> {
    let text = reveal(secret)?;
    callable(text.expose_secret(), allow_http).map_err(|problem| {
        let of = match secret {
            Secret::File(path) => format!(" in \"{}\"", path.display()),
            Secret::Value(_) => String::new(),
        };
        SinkError(format!("the URL{of}: {problem}"))
    })
}

pub(super) fn reveal(secret: &Secret) -> Result<SecretString, SinkError> {
    secret.reveal().map_err(SinkError)
}

/// The innermost cause: the outer ones say the URL.
fn failed(error: &reqwest::Error) -> SinkError {
    let causes = std::iter::successors(error.source(), |cause| (*cause).source());
    SinkError(match causes.last() {
        _ if error.is_timeout() => "the server did not answer in time".to_owned(),
        Some(cause) if error.is_connect() => format!("connect to the server: {cause}"),
        Some(cause) => cause.to_string(),
        None => "the request could not be sent".to_owned(),
    })
}
