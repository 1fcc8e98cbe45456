//! What an archive_command that is durable and does nothing else costs: copy,
//! fsync, rename, fsync of the directory. benches/compare.py holds `wal push`
//! against it.
#![allow(
    clippy::disallowed_methods,
    reason = "the plain way is what is measured"
)]

use std::{env, fs::File, io, path::PathBuf};

fn main() -> io::Result<()> {
    let mut arguments = env::args_os().skip(1).map(PathBuf::from);
    let (Some(from), Some(to)) = (arguments.next(), arguments.next()) else {
        return Err(io::Error::other("usage: plain-copy FROM TO"));
    };
    let temporary = to.with_extension("tmp");
    let mut file = File::create(&temporary)?;
    io::copy(&mut File::open(from)?, &mut file)?;
    file.sync_all()?;
    std::fs::rename(&temporary, &to)?;
    let directory = to
        .parent()
        .ok_or_else(|| io::Error::other("the path has no directory"))?;
    File::open(directory)?.sync_all()
}
