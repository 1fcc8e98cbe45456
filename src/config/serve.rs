//! The table `[serve]`: where the page, the metrics and the health check are.

use std::{
    fmt,
    net::SocketAddr,
    path::{Path, PathBuf},
};

use super::{
    file::Serve as Table,
    wrong::{Wrong, wrong},
};

/// Where the daemon answers HTTP, and whom.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ServeSettings {
    /// Where it listens; none where it is not to.
    pub listen: Option<Listen>,
    /// The file with the token that whoever asks has to show. Never none where
    /// others than this host's users can ask.
    pub token_file: Option<PathBuf>,
}

/// Where the daemon listens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Listen {
    /// A TCP address.
    Tcp(SocketAddr),
    /// A Unix socket, for those whom its directory and mode let through.
    Unix(PathBuf),
}

impl Listen {
    /// Whether only this host's users can get here.
    pub fn is_local(&self) -> bool {
        match self {
            Listen::Tcp(address) => address.ip().is_loopback(),
            Listen::Unix(_) => true,
        }
    }
}

impl fmt::Display for Listen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Listen::Tcp(address) => write!(f, "http://{address}/"),
            Listen::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

pub(super) fn check(table: Table) -> Result<ServeSettings, Wrong> {
    let listen = parse(&table.listen).map_err(|problem| wrong("serve.listen", problem))?;
    let token_file = table.token_file;
    match &listen {
        Some(listen) if !listen.is_local() && token_file.is_none() => {
            let problem = format!(
                "\"{}\" can be reached from other hosts: name the file of a token in \
                 serve.token_file, or listen on 127.0.0.1 or a Unix socket (\"unix:/run/…\")",
                table.listen
            );
            return Err(wrong("serve.listen", problem));
        }
        Some(Listen::Unix(_)) if token_file.is_some() => {
            let problem =
                "means nothing to a Unix socket, which its directory guards: leave it out";
            return Err(wrong("serve.token_file", problem));
        }
        _ => {}
    }
    Ok(ServeSettings { listen, token_file })
}

fn parse(text: &str) -> Result<Option<Listen>, String> {
    if text == "off" {
        return Ok(None);
    }
    if let Some(path) = text.strip_prefix("unix:") {
        let path = Path::new(path);
        if !path.is_absolute() {
            return Err(format!("\"{text}\" is no absolute path of a socket"));
        }
        return Ok(Some(Listen::Unix(path.to_owned())));
    }
    let address = match text.strip_prefix("localhost:") {
        Some(port) => format!("127.0.0.1:{port}").parse(),
        None => text.parse(),
    };
    address
        .map(|address| Some(Listen::Tcp(address)))
        .map_err(|_| {
            format!(
                "\"{text}\" is no address with a port, such as \"127.0.0.1:9847\", nor a \
             \"unix:/PATH\", nor \"off\""
            )
        })
}
