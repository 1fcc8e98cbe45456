//! Parts of segments as objects: compressed once for all stores that ask for
//! the same one while somebody still has it.

use std::{
    collections::BTreeMap,
    fs::File,
    io,
    os::unix::fs::FileExt,
    sync::{Arc, Mutex, PoisonError, Weak},
};

use bytes::Bytes;
use tokio::sync::OnceCell;

use super::directory::{Directory, Received};
use crate::{
    codec::{About, EncodeError, Encoder, Facts},
    layout::StreamPart,
    postgres::WalFileName,
    store::Body,
};

/// A part that is ready to be sent.
#[derive(Debug)]
pub(super) struct Packed {
    pub(super) facts: Facts,
    pub(super) body: Body,
}

/// A part could not be made.
#[derive(Debug, thiserror::Error)]
pub(super) enum PackError {
    #[error("read the received segment")]
    Read(#[from] io::Error),
    #[error("compress it")]
    Encode(#[from] EncodeError),
    #[error("compress it: {0}")]
    Thread(#[from] tokio::task::JoinError),
}

type Cell = OnceCell<Packed>;

/// Makes parts.
#[derive(Debug)]
pub(super) struct Parts {
    directory: Directory,
    pub(super) encoder: Encoder,
    shelf: Mutex<BTreeMap<StreamPart, Weak<Cell>>>,
}

impl Parts {
    pub(super) fn new(directory: Directory, encoder: Encoder) -> Self {
        Parts {
            directory,
            encoder,
            shelf: Mutex::default(),
        }
    }

    /// `part` of a received segment; read it by [`Cell::get`]. `None` where the
    /// segment has been taken away.
    pub(super) async fn take(
        &self,
        received: &Received,
        part: StreamPart,
    ) -> Result<Option<Arc<Cell>>, PackError> {
        let cell = {
            let mut shelf = self.shelf.lock().unwrap_or_else(PoisonError::into_inner);
            shelf.retain(|_, cell| cell.strong_count() > 0);
            let kept = shelf.get(&part).and_then(Weak::upgrade);
            let cell = kept.unwrap_or_default();
            shelf.insert(part, Arc::downgrade(&cell));
            cell
        };
        // It may have been renamed since it was looked at.
        let names = [received.file_name(), WalFileName::Segment(received.segment)];
        for name in names {
            let Some(file) = self.directory.file(name)? else {
                continue;
            };
            let (encoder, written) = (self.encoder.clone(), received.written);
            let pack = async || {
                let pack = move || pack(&file, part, &encoder, written);
                tokio::task::spawn_blocking(pack).await?
            };
            cell.get_or_try_init(pack).await?;
            return Ok(Some(cell));
        }
        Ok(None)
    }
}

fn pack(
    file: &File,
    part: StreamPart,
    encoder: &Encoder,
    written: jiff::Timestamp,
) -> Result<Packed, PackError> {
    let mut raw = vec![0; part.length() as usize];
    file.read_exact_at(&mut raw, part.from.into())?;
    let mut object = Vec::new();
    let name = part.file_name();
    let encoded = encoder.encode(&raw, About::new(&name, written), 1, &mut object)?;
    object.shrink_to_fit();
    Ok(Packed {
        facts: encoded.facts,
        body: Body::bytes(Bytes::from(object), encoded.md5),
    })
}
