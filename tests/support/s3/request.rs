//! Signed requests that walkeep never sends: buckets made, policies set. Over
//! a plain socket, so that nothing of walkeep's client is in them.

use std::{
    io::{Read, Write},
    net::TcpStream,
    time::Duration,
};

use rusty_s3::{Bucket, Method, UrlStyle, signing};
use url::Url;

use super::S3Server;

/// Sends one request; the error is an answer other than 2xx. `path` is
/// `BUCKET` or `BUCKET/KEY`.
pub(super) fn send(
    server: &S3Server,
    method: &str,
    path: &str,
    subresource: &str,
    body: &str,
) -> Result<(), String> {
    let url = sign(server, method, path, subresource);
    let target = format!("{}?{}", url.path(), url.query().unwrap_or_default());
    let mut connection = TcpStream::connect(server.address).map_err(|error| error.to_string())?;
    let request = format!(
        "{method} {target} HTTP/1.1\r\nhost: {}\r\ncontent-length: {}\r\nconnection: close\r\n\r\n\
         {body}",
        server.address,
        body.len()
    );
    let mut answer = String::new();
    connection
        .set_read_timeout(Some(Duration::from_secs(20)))
        .and_then(|()| connection.write_all(request.as_bytes()))
        .and_then(|()| connection.read_to_string(&mut answer))
        .map_err(|error| error.to_string())?;
    let status = answer.split(' ').nth(1).unwrap_or_default();
    if status.starts_with('2') {
        Ok(())
    } else {
        Err(answer)
    }
}

fn sign(server: &S3Server, method: &str, path: &str, subresource: &str) -> Url {
    let endpoint = server.endpoint().parse().expect("parse the endpoint");
    let (name, key) = path.split_once('/').unwrap_or((path, ""));
    let bucket = Bucket::new(
        endpoint,
        UrlStyle::Path,
        name.to_owned(),
        server.region.to_owned(),
    )
    .expect("address the bucket");
    let url = match key {
        "" => bucket.base_url().clone(),
        key => bucket.object_url(key),
    };
    let method = match method {
        "PUT" => Method::Put,
        "DELETE" => Method::Delete,
        "GET" => Method::Get,
        other => panic!("{other} is not used"),
    };
    let query = (!subresource.is_empty()).then_some((subresource, ""));
    signing::sign(
        &jiff::Timestamp::now(),
        method,
        url,
        &server.access_key,
        &server.secret_key,
        None,
        server.region,
        300,
        query.into_iter(),
        std::iter::empty(),
    )
}
