//! How a fetch talks to its prefetcher: over a socket in the spool, in lines.
//!
//! ```text
//! at 000000010000000400000024    that one is in place: fetch ahead of it
//! want 000000010000000400000025  it is not in the spool: is it on its way?
//!   loading                      yes, and bytes have come (again and again)
//!   ready                        it is in the spool now
//!   no                           it is not, and will not be: fetch it yourself
//! ```
//!
//! A fetch never depends on an answer: one that does not come in time is a no.

use std::{
    fmt,
    fs::File,
    io::{self, BufRead, BufReader, Write},
    path::PathBuf,
    str::FromStr,
    time::Duration,
};

use super::spool::Spool;
use crate::{archive::socket, postgres::SegmentName};

/// How long a connection may take: a prefetcher that is stopped would let one
/// wait for ever.
const CONNECT: Duration = Duration::from_millis(200);
/// How long a fetch waits for the next line.
const NEXT_LINE: Duration = Duration::from_millis(1500);
/// How often the prefetcher says that bytes have come.
pub(super) const PROGRESS: Duration = Duration::from_millis(200);

/// What a fetch says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Word {
    /// The segment is in place.
    At(SegmentName),
    /// The segment is wanted now.
    Want(SegmentName),
}

impl fmt::Display for Word {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Word::At(name) => write!(f, "at {name}"),
            Word::Want(name) => write!(f, "want {name}"),
        }
    }
}

impl FromStr for Word {
    type Err = ();

    fn from_str(line: &str) -> Result<Self, ()> {
        let (word, name) = line.trim_end().split_once(' ').ok_or(())?;
        let name = name.parse().map_err(|_| ())?;
        match word {
            "at" => Ok(Word::At(name)),
            "want" => Ok(Word::Want(name)),
            _ => Err(()),
        }
    }
}

pub(super) const LOADING: &str = "loading\n";
pub(super) const READY: &str = "ready\n";
pub(super) const NO: &str = "no\n";

/// The socket in an open directory, by a path that is short enough whatever
/// the directory's is: a socket's has 107 bytes (unix(7)).
pub(super) fn socket_in(directory: &File) -> PathBuf {
    socket::address(directory, SOCKET)
}

/// The socket's name in the spool.
pub(super) const SOCKET: &str = "socket";

/// Waits for a segment that the prefetcher is loading, as long as it makes
/// progress. Returns whether it is in the spool now.
pub(super) fn wait_for(spool: &Spool, name: SegmentName) -> bool {
    let asked = || -> io::Result<bool> {
        let mut stream = socket::connect(File::open(spool.root())?, SOCKET, CONNECT)?;
        stream.set_read_timeout(Some(NEXT_LINE))?;
        stream.write_all(format!("{}\n", Word::Want(name)).as_bytes())?;
        for line in BufReader::new(stream).lines() {
            match line?.as_str() {
                "ready" => return Ok(true),
                "loading" => {}
                _ => return Ok(false),
            }
        }
        Ok(false)
    };
    match asked() {
        Ok(ready) => ready,
        Err(error) => {
            tracing::debug!("ask the prefetcher for \"{name}\": {error}");
            false
        }
    }
}

/// Tells the prefetcher where PostgreSQL is. Returns whether one listens.
pub(super) fn tell(spool: &Spool, name: SegmentName) -> bool {
    let told = || -> io::Result<()> {
        let mut stream = socket::connect(File::open(spool.root())?, SOCKET, CONNECT)?;
        stream.set_write_timeout(Some(CONNECT))?;
        stream.write_all(format!("{}\n", Word::At(name)).as_bytes())
    };
    told().is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_come_back_and_nothing_else_is_one() {
        let name: SegmentName = "000000010000000400000024".parse().unwrap();
        for word in [Word::At(name), Word::Want(name)] {
            assert_eq!(format!("{word}\n").parse(), Ok(word));
        }
        for wrong in ["", "at", "at x", "take 000000010000000400000024", "at  "] {
            assert_eq!(wrong.parse::<Word>(), Err(()), "{wrong:?}");
        }
    }
}
