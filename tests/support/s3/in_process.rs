//! s3s, served by a thread of this process.

use std::{
    net::{SocketAddr, TcpListener},
    sync::mpsc,
    thread::JoinHandle,
    time::{Duration, SystemTime},
};

use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use s3s::{
    auth::SimpleAuth,
    service::{S3Service, S3ServiceBuilder},
};
use s3s_fs::FileSystem;
use tokio::sync::{oneshot, watch};

use super::S3Server;
use crate::support::host::wait_for;

/// A thread that serves; its end closes every connection.
pub(super) struct InProcess {
    stop: Option<oneshot::Sender<()>>,
    manner: watch::Sender<Manner>,
    thread: Option<JoinHandle<()>>,
}

/// How it answers.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Manner {
    /// Not at all, for now.
    pub(super) paused: bool,
    /// So much later than it could.
    pub(super) delay: Duration,
    /// With a clock that is so far behind.
    pub(super) behind: Duration,
}

/// A child that another test is just starting holds, until its exec, a copy of
/// whatever socket was open at this address before.
fn listen(address: SocketAddr) -> TcpListener {
    wait_for("the address is free", Duration::from_secs(30), || {
        TcpListener::bind(address).ok()
    })
}

impl InProcess {
    pub(super) fn start(server: &S3Server) -> Self {
        let files = FileSystem::new(&server.root).expect("open the directory");
        let mut service = S3ServiceBuilder::new(files);
        service.set_auth(SimpleAuth::from_single(
            server.access_key.as_str(),
            server.secret_key.as_str(),
        ));
        let service = service.build();
        let (stop, stopped) = oneshot::channel();
        let (manner, told) = watch::channel(Manner::default());
        let (listening, ready) = mpsc::channel();
        let address = server.address;
        let thread = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_multi_thread()
                .worker_threads(1)
                .enable_all()
                .build()
                .expect("start a runtime");
            runtime.block_on(async {
                let listener = listen(address);
                listener.set_nonblocking(true).expect("set non-blocking");
                let listener = tokio::net::TcpListener::from_std(listener).expect("listen");
                listening.send(()).expect("tell the test");
                tokio::select! {
                    () = serve(listener, service, told) => {}
                    _ = stopped => {}
                }
            });
            // Connections end with the runtime.
            runtime.shutdown_background();
        });
        ready.recv().expect("the server's thread ended");
        InProcess {
            stop: Some(stop),
            manner,
            thread: Some(thread),
        }
    }

    pub(super) fn behave(&self, change: impl FnOnce(&mut Manner)) {
        self.manner.send_modify(change);
    }
}

impl Drop for InProcess {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

async fn serve(
    listener: tokio::net::TcpListener,
    service: S3Service,
    told: watch::Receiver<Manner>,
) {
    loop {
        let (connection, _) = listener.accept().await.expect("accept");
        let (service, told) = (service.clone(), told.clone());
        let answer = service_fn(move |request: hyper::Request<Incoming>| {
            let (service, mut told) = (service.clone(), told.clone());
            let Manner { delay, behind, .. } = *told.borrow();
            async move {
                let _ = told.wait_for(|manner| !manner.paused).await;
                tokio::time::sleep(delay).await;
                let mut answer = hyper::service::Service::call(&service, request).await?;
                let date = httpdate::fmt_http_date(SystemTime::now() - behind);
                let date = date.parse().expect("a date is a header");
                answer.headers_mut().insert(hyper::header::DATE, date);
                Ok::<_, s3s::HttpError>(answer)
            }
        });
        tokio::spawn(async move {
            let _ = http1::Builder::new()
                .timer(TokioTimer::new())
                .serve_connection(TokioIo::new(connection), answer)
                .await;
        });
    }
}
