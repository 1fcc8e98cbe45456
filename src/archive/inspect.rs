//! Whether a file is what its name says, of the cluster that it should be of.

use std::{fs::File, io, os::unix::fs::FileExt};

use crate::postgres::{
    SegmentSize, SystemId, WalFileName, history,
    page::{HEADER_SIZE, InvalidHeader, SegmentHeader, WrongSegment},
};

/// The cluster that files are checked against.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Owner {
    /// Whose files are accepted.
    pub system_id: SystemId,
    /// The size that its segments have.
    pub segment_size: SegmentSize,
}

/// A history or backup history file is a few lines; PostgreSQL reads no
/// longer line than 1 KiB of either.
const LARGEST_TEXT: u64 = 1 << 20;

/// Why a file is not accepted under its name.
#[derive(Debug, thiserror::Error)]
pub enum Refusal {
    /// It begins no segment.
    #[error(transparent)]
    Header(#[from] InvalidHeader),
    /// It is another segment, or cut short.
    #[error(transparent)]
    Segment(#[from] WrongSegment),
    /// Another cluster wrote it.
    #[error("it belongs to the cluster {found}, this archive to {expected}")]
    OtherCluster {
        /// The system identifier in its first page.
        found: SystemId,
        /// The one that the archive is bound to.
        expected: SystemId,
    },
    /// The same cluster cannot have segments of two sizes.
    #[error("it is a segment of {found}, those of this cluster are of {expected}")]
    OtherSegmentSize {
        /// The size in its first page.
        found: SegmentSize,
        /// The one that the archive is bound to.
        expected: SegmentSize,
    },
    /// Not a regular file.
    #[error("it is not a regular file")]
    NotAFile,
    /// An empty file, or one too large to be text.
    #[error("it is {0} bytes long")]
    TextSize(u64),
    /// A history file that PostgreSQL could not read.
    #[error(transparent)]
    History(#[from] history::InvalidHistory),
    /// A backup history file without its first line.
    #[error("it does not begin with \"START WAL LOCATION\"")]
    BackupHistory,
    /// It could not be read.
    #[error("read it")]
    Io(#[from] io::Error),
}

/// Checks that the open `file` is the one that PostgreSQL calls `name`. Reads
/// a page header, or a few lines; does not move the file's position.
pub fn inspect(file: &File, name: WalFileName, owner: &Owner) -> Result<(), Refusal> {
    let metadata = file.metadata()?;
    if !metadata.is_file() {
        return Err(Refusal::NotAFile);
    }
    match name {
        WalFileName::Segment(segment) | WalFileName::Partial(segment) => {
            let mut bytes = [0; HEADER_SIZE];
            let length = HEADER_SIZE.min(metadata.len() as usize);
            file.read_exact_at(&mut bytes[..length], 0)?;
            let header = SegmentHeader::parse(&bytes[..length])?;
            check_owner(&header, owner)?;
            Ok(header.check(segment, metadata.len())?)
        }
        WalFileName::History(_) => {
            history::parse(&text(file, metadata.len())?)?;
            Ok(())
        }
        WalFileName::BackupHistory(..) => {
            let text = text(file, metadata.len())?;
            text.starts_with("START WAL LOCATION")
                .then_some(())
                .ok_or(Refusal::BackupHistory)
        }
    }
}

/// Checks raw bytes that a store returned, as [`inspect`] checks a file.
pub fn inspect_bytes(raw: &[u8], name: WalFileName, owner: Option<&Owner>) -> Result<(), Refusal> {
    inspect_head(raw, raw.len() as u64, name, owner)
}

/// The same of a segment of which only the beginning is in memory, at least
/// [`HEADER_SIZE`] bytes; the whole of it has `size` bytes. Other files have
/// no header, and pass.
pub fn inspect_head(
    head: &[u8],
    size: u64,
    name: WalFileName,
    owner: Option<&Owner>,
) -> Result<(), Refusal> {
    let Some(segment) = name.segment().filter(|_| name.holds_pages()) else {
        return Ok(());
    };
    let header = SegmentHeader::parse(head)?;
    if let Some(owner) = owner {
        check_owner(&header, owner)?;
    }
    Ok(header.check(segment, size)?)
}

fn check_owner(header: &SegmentHeader, owner: &Owner) -> Result<(), Refusal> {
    if header.system_id != owner.system_id {
        return Err(Refusal::OtherCluster {
            found: header.system_id,
            expected: owner.system_id,
        });
    }
    if header.segment_size != owner.segment_size {
        let (found, expected) = (header.segment_size, owner.segment_size);
        return Err(Refusal::OtherSegmentSize { found, expected });
    }
    Ok(())
}

fn text(file: &File, length: u64) -> Result<String, Refusal> {
    if length == 0 || length > LARGEST_TEXT {
        return Err(Refusal::TextSize(length));
    }
    let mut bytes = vec![0; length as usize];
    file.read_exact_at(&mut bytes, 0)?;
    // A restore point's or a backup label's text is in the server's encoding.
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}
