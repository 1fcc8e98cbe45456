//! What the daemon answers over HTTP: the page, the metrics, the health check.
//! To be read only; nothing that is asked here changes anything.
//!
//! Whatever happens here never stops shipping: an address that is taken is
//! told once and tried again, a question that fails gets an answer that says
//! so.

mod connections;
mod guard;
mod headers;

use std::{
    io::{self, ErrorKind},
    os::unix::{fs::FileTypeExt, fs::PermissionsExt},
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use axum::{Router, middleware};
use tokio::{
    net::{TcpListener, UnixListener, UnixStream},
    task::JoinHandle,
    time::sleep,
};

use self::{connections::Bounded, guard::Guard};
use crate::{
    config::{Listen, ServeSettings},
    fs,
};

/// How soon an address that could not be had is tried again; each time twice
/// as long, up to [`LONGEST_REST`].
const FIRST_REST: Duration = Duration::from_secs(1);
const LONGEST_REST: Duration = Duration::from_secs(60);

/// The server, as long as it is not dropped.
pub(super) struct Http {
    settings: ServeSettings,
    routes: Router,
    task: Option<JoinHandle<()>>,
}

impl Http {
    /// Begins to listen and to answer with `routes`. Inside a tokio runtime.
    pub(super) fn start(settings: &ServeSettings, routes: Router) -> Self {
        let mut http = Http {
            settings: settings.clone(),
            routes,
            task: None,
        };
        http.begin();
        http
    }

    /// Goes where the new configuration says; stays where it has not changed.
    pub(super) fn take_over(&mut self, settings: &ServeSettings) {
        if self.settings != *settings {
            self.end();
            self.settings = settings.clone();
            self.begin();
        }
    }

    fn begin(&mut self) {
        let Some(listen) = self.settings.listen.clone() else {
            return;
        };
        let token_file = self.settings.token_file.clone();
        let guard = Arc::new(Guard::new(&listen, token_file));
        let routes = self.routes.clone();
        let routes = routes
            .layer(middleware::from_fn_with_state(guard, guard::admit))
            // Outermost: refusals have them too.
            .layer(middleware::from_fn(headers::add));
        self.task = Some(tokio::spawn(serve(listen, routes)));
    }

    fn end(&mut self) {
        if let Some(task) = self.task.take() {
            task.abort();
            if let Some(Listen::Unix(path)) = &self.settings.listen {
                // A courtesy: a socket that nobody listens on is taken over.
                let _ = std::fs::remove_file(path);
            }
        }
    }
}

impl Drop for Http {
    fn drop(&mut self) {
        self.end();
    }
}

/// Listens, however often that takes.
async fn serve(listen: Listen, routes: Router) {
    let mut rest = FIRST_REST;
    loop {
        let failed = match &listen {
            Listen::Tcp(address) => match TcpListener::bind(address).await {
                Ok(listener) => {
                    // The port, where the system chose it.
                    let address = listener.local_addr().unwrap_or(*address);
                    tracing::info!("answers at {}", Listen::Tcp(address));
                    axum::serve(Bounded::new(listener), routes.clone()).await
                }
                Err(error) => Err(error),
            },
            Listen::Unix(path) => match bind(path).await {
                Ok(listener) => {
                    tracing::info!("answers at {listen}");
                    axum::serve(Bounded::new(listener), routes.clone()).await
                }
                Err(error) => Err(error),
            },
        };
        let Err(error) = failed else { return };
        // Once: it is tried again until it succeeds, or the configuration
        // names another place.
        if rest == FIRST_REST {
            tracing::warn!(
                "listen at {listen}: {error}; it is tried again, and shipping goes on: serve.listen \
                 names another address"
            );
        }
        sleep(rest).await;
        rest = (rest * 2).min(LONGEST_REST);
    }
}

/// A socket under this path, in place of one that nobody listens on.
async fn bind(path: &Path) -> io::Result<UnixListener> {
    match std::fs::symlink_metadata(path) {
        Ok(there) if !there.file_type().is_socket() => {
            return Err(io::Error::new(
                ErrorKind::AlreadyExists,
                "there is a file of this name that is no socket",
            ));
        }
        Ok(_) if UnixStream::connect(path).await.is_ok() => {
            return Err(ErrorKind::AddrInUse.into());
        }
        _ => {}
    }
    // It gets its name when it has its mode: nobody is let in in between.
    let new = beside(path);
    match std::fs::remove_file(&new) {
        Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let listener = UnixListener::bind(&new)?;
    std::fs::set_permissions(&new, std::fs::Permissions::from_mode(0o660))?;
    fs::rename(&new, path)?;
    Ok(listener)
}

fn beside(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".new");
    name.into()
}
