//! A staged file, made into an object: inspected, mapped, and compressed into
//! the very buffer that is uploaded.

use std::{fs::File, io};

use bytes::Bytes;
use jiff::Timestamp;

use crate::{
    archive::{
        inspect::{Refusal, inspect},
        staging::{Staged, Staging, StagingError},
    },
    codec::{About, BufferPool, EncodeError, Encoder, Facts, Mapped},
    fs::Temporary,
    postgres::{WalFileName, record},
    store::Body,
};

/// A larger file is compressed into a spool file, and uploaded from there.
const SPOOLED: u64 = 32 << 20;
/// What compressing into a spool file takes of memory, in bytes: a few
/// members for each thread.
const SPOOLING: u64 = 16 << 20;
/// What an upload from a spool file takes, in bytes.
const UPLOADING: u64 = 1 << 20;

/// Makes objects of staged files. Clones share their buffers.
#[derive(Debug, Clone)]
pub struct Packer {
    /// Where the files are.
    pub staging: Staging,
    /// How they are compressed.
    pub encoder: Encoder,
    /// What small objects are compressed into.
    pub buffers: BufferPool,
    /// How many threads work on one file.
    pub threads: usize,
}

/// An object, ready to be sent as often as there are stores.
#[derive(Debug)]
pub struct Packed {
    /// What goes beside its bytes.
    pub facts: Facts,
    /// Its bytes, as long as this is kept.
    pub body: Body,
    /// Removed with the last user.
    spool: Option<Temporary>,
}

/// Why a staged file has become no object.
#[derive(Debug, thiserror::Error)]
pub enum PackError {
    /// Another process shipped it meanwhile.
    #[error("it is not staged any more")]
    Gone,
    /// It is not what its name says.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// It could not be compressed.
    #[error("compress it")]
    Encode(#[from] EncodeError),
    /// The staging directory failed.
    #[error(transparent)]
    Staging(#[from] StagingError),
    /// The compressing thread died.
    #[error("compress it: {0}")]
    Thread(#[from] tokio::task::JoinError),
}

impl Packed {
    /// What it takes of memory, in bytes.
    pub(super) fn memory(&self) -> u64 {
        if self.spool.is_some() {
            UPLOADING
        } else {
            self.body.length
        }
    }
}

impl Packer {
    /// What [`pack`](Self::pack) takes of memory at the most, in bytes.
    pub(super) fn memory(&self, file: &Staged) -> u64 {
        // What cannot be compressed grows by less than a thousandth, and by the
        // facts.
        if file.size > SPOOLED {
            SPOOLING
        } else {
            file.size + file.size / 1000 + 4096
        }
    }

    /// Compresses the file, on a thread for blocking work.
    pub async fn pack(&self, file: &Staged) -> Result<Packed, PackError> {
        let (packer, file) = (self.clone(), file.clone());
        tokio::task::spawn_blocking(move || packer.pack_now(&file)).await?
    }

    fn pack_now(&self, staged: &Staged) -> Result<Packed, PackError> {
        let name = staged.name;
        let file = self.staging.file(name)?.ok_or(PackError::Gone)?;
        inspect(&file, name, &self.staging.owner())?;
        let path = self.staging.path(name);
        let mapped = Mapped::open(&file).map_err(StagingError::io("map", &path))?;
        let modified = modified(&file).map_err(StagingError::io("look at", &path))?;
        if mapped.len() as u64 > SPOOLED {
            return self.spool(name, &mapped, modified);
        }
        let mut buffer = self.buffers.take();
        let text = name.to_string();
        let encoded = self.encoder.encode(
            &mapped,
            about(&text, name, modified, &mapped),
            self.threads,
            &mut buffer,
        )?;
        let bytes: Bytes = buffer.freeze();
        Ok(Packed {
            facts: encoded.facts,
            body: Body::bytes(bytes, encoded.md5),
            spool: None,
        })
    }

    fn spool(
        &self,
        name: WalFileName,
        mapped: &Mapped,
        modified: Timestamp,
    ) -> Result<Packed, PackError> {
        let directory = self.staging.temporaries();
        let text = name.to_string();
        // Two stores that are out of step may both spool the same file.
        let unique = format!("{text}.packed.{:08x}", fastrand::u32(..));
        let mut spool = Temporary::create(&directory, &unique)
            .map_err(StagingError::io("make a spool file in", &directory))?;
        let threads = self.threads.max(2);
        let encoded = self.encoder.encode_to_file(
            mapped,
            about(&text, name, modified, mapped),
            threads,
            spool.file(),
        )?;
        let body = Body::file(spool.path().to_owned(), encoded.stored_size, encoded.md5);
        Ok(Packed {
            facts: encoded.facts,
            body,
            spool: Some(spool),
        })
    }
}

/// What the object says of its file. A segment's moments are found before it is
/// compressed; one of a WAL format that is not known is shipped without.
fn about<'a>(text: &'a str, name: WalFileName, modified: Timestamp, raw: &[u8]) -> About<'a> {
    let about = About::new(text, modified);
    if !name.holds_pages() {
        return about;
    }
    match record::decode(raw, None) {
        Ok((moments, _)) => about.with_moments(Some(moments)),
        Err(error) => {
            tracing::debug!("the moments of \"{name}\" are not known: {error}");
            about
        }
    }
}

fn modified(file: &File) -> io::Result<Timestamp> {
    Timestamp::try_from(file.metadata()?.modified()?).map_err(io::Error::other)
}
