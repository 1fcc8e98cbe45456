//! Two clouds on loopback: S3 servers inside this process, which check every
//! signature, each over a directory of its own.

use std::{io, net::SocketAddr, path::Path};

use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto::Builder;
use s3s::{auth::SimpleAuth, service::S3ServiceBuilder};
use s3s_fs::FileSystem;
use tokio::{net::TcpListener, runtime::Runtime};

/// The bucket that each server has.
pub(super) const BUCKET: &str = "backups";

/// A running server.
pub(super) struct Server {
    pub(super) address: SocketAddr,
    pub(super) access_key: String,
    pub(super) secret_key: String,
}

/// Starts a server over `directory` on a free port; it lives as long as
/// `runtime`.
pub(super) fn start(runtime: &Runtime, directory: &Path) -> io::Result<Server> {
    crate::fs::create_dir_all(&directory.join(BUCKET), 0o700)?;
    let files =
        FileSystem::new(directory).map_err(|error| io::Error::other(format!("{error:?}")))?;
    let random = || format!("{:016x}{:016x}", fastrand::u64(..), fastrand::u64(..));
    let (access_key, secret_key) = (random(), random());
    let mut service = S3ServiceBuilder::new(files);
    service.set_auth(SimpleAuth::from_single(
        access_key.as_str(),
        secret_key.as_str(),
    ));
    let service = service.build();
    let listener = runtime.block_on(TcpListener::bind(("127.0.0.1", 0)))?;
    let address = listener.local_addr()?;
    runtime.spawn(async move {
        // It ends with the runtime, or when the process has no descriptors left.
        while let Ok((connection, _)) = listener.accept().await {
            let service = service.clone();
            tokio::spawn(async move {
                let builder = Builder::new(TokioExecutor::new());
                // A client that goes away is no event.
                let _ = builder
                    .serve_connection(TokioIo::new(connection), service)
                    .await;
            });
        }
    });
    Ok(Server {
        address,
        access_key,
        secret_key,
    })
}
