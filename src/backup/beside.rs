//! What is read beside the walk: `pg_control`, and configuration files that
//! live elsewhere.

use std::{fs, io, path::Path, time::Duration};

use anyhow::{Context, bail};

use super::{
    data::Data,
    listing::{Entry, EntryPath, FileEntry, Inline, StretchAt},
    manifest::ConfigurationFile,
    packs::Packs,
    read::Reader,
    scan::CONTROL,
    take::Taking,
};
use crate::postgres::{control::Control, session::Session};

/// How often a torn `pg_control` is read again.
const CONTROL_AGAIN: u32 = 10;
/// A configuration file that is larger is no configuration file, in bytes.
const LARGEST_CONFIGURATION: u64 = 1 << 20;

/// Reads `pg_control`, whole: its CRC says whether it is.
pub(super) fn read_control(
    taking: &Taking,
    packs: &Packs,
    data: &mut Data,
) -> anyhow::Result<Entry> {
    let path = EntryPath::new(CONTROL.to_vec())?;
    let source = taking.data.join(path.as_path());
    let mut tries = 0;
    loop {
        let bytes = fs::read(&source).with_context(|| reading(&source))?;
        if Control::is_whole(&bytes) {
            break;
        }
        tries += 1;
        if tries > CONTROL_AGAIN {
            bail!("\"{}\" is damaged: its CRC is wrong", source.display());
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    let file = fs::File::open(&source).with_context(|| reading(&source))?;
    let metadata = file.metadata().with_context(|| reading(&source))?;
    let read = Reader::new(packs, taking.encoder.single_members()?).read(&file, 0, None, None)?;
    data.totals.raw_bytes += read.size;
    data.totals.changed_bytes += read.changed;
    data.totals.files += 1;
    for chunk in &read.stretch.chunks {
        data.packs
            .entry(chunk.backup)
            .or_default()
            .insert(chunk.pack);
    }
    Ok(Entry {
        path,
        mode: 0o600,
        file: Some(FileEntry {
            size: read.size,
            modified: metadata.modified()?.try_into()?,
            crc32c: read.crc32c,
            stretches: vec![StretchAt::Inline(Inline::new(read.stretch.to_bytes()))],
        }),
    })
}

/// The configuration files that are not in the data directory.
pub(super) fn configuration(
    session: &mut Session,
    data: &Path,
) -> anyhow::Result<Vec<ConfigurationFile>> {
    let data = fs::canonicalize(data).with_context(|| reading(data))?;
    let mut files = Vec::new();
    for (path, setting) in session.configuration_files()? {
        let read = read_configuration(&path, &data);
        match read {
            Ok(None) => {}
            Ok(Some(text)) => files.push(ConfigurationFile {
                setting,
                path: path.display().to_string(),
                text,
            }),
            Err(error) => tracing::warn!(
                "the configuration file \"{}\" is not in the backup: {error}",
                path.display()
            ),
        }
    }
    Ok(files)
}

/// None for one that is in the data directory, and so in the backup.
fn read_configuration(path: &Path, data: &Path) -> io::Result<Option<String>> {
    if path.starts_with(data) {
        return Ok(None);
    }
    if fs::metadata(path)?.len() > LARGEST_CONFIGURATION {
        return Err(io::Error::other("it is larger than 1 MiB"));
    }
    fs::read_to_string(path).map(Some)
}

fn reading(path: &Path) -> String {
    format!("read \"{}\"", path.display())
}
