//! Receipts: what left staging because the stores hold it, by name and raw
//! SHA-256, so that `push` can answer a repeated file without catalog or
//! network. Lines as `sha256sum` writes them, one file for 4 GiB of WAL:
//!
//! ```text
//! receipts/0000000100000004
//! ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad  000000010000000400000024
//! ```

use std::{
    collections::BTreeMap,
    io,
    path::{Path, PathBuf},
};

use crate::{codec::Sha256, fs, postgres::WalFileName};

/// The receipts beside one staging directory.
#[derive(Debug, Clone)]
pub struct Receipts {
    directory: PathBuf,
}

impl Receipts {
    /// The receipts in `directory`, which exists.
    pub fn at(directory: &Path) -> Self {
        Receipts {
            directory: directory.to_owned(),
        }
    }

    /// The raw SHA-256 that was confirmed under `name`; the newest one, where
    /// `repair` or an operator has left several.
    pub fn find(&self, name: WalFileName) -> io::Result<Option<Sha256>> {
        let text = match std::fs::read_to_string(self.file(name)) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            text => text?,
        };
        let wanted = name.to_string();
        // Without its newline the last line may be cut short: not written.
        let whole = text.rsplit_once('\n').map_or("", |(whole, _)| whole);
        let found = whole.lines().rev().find_map(|line| {
            let (digest, name) = line.split_once("  ")?;
            (name == wanted).then(|| digest.parse().ok()).flatten()
        });
        Ok(found)
    }

    /// Leaves durable receipts. Leaving the same ones again changes nothing
    /// that [`find`](Self::find) answers.
    pub fn leave(&self, files: &[(WalFileName, Sha256)]) -> io::Result<()> {
        let mut lines: BTreeMap<PathBuf, String> = BTreeMap::new();
        for (name, digest) in files {
            let known = self.find(*name)? == Some(*digest);
            let lines = lines.entry(self.file(*name)).or_default();
            if !known {
                lines.push_str(&format!("{digest}  {name}\n"));
            }
        }
        for (path, lines) in lines {
            if lines.is_empty() {
                // They may be a crashed attempt's, still unflushed.
                fs::sync_file(&path)?;
            } else {
                fs::append_lines(&path, &lines)?;
            }
        }
        Ok(())
    }

    fn file(&self, name: WalFileName) -> PathBuf {
        let stem = name
            .segment()
            .map_or_else(|| "history".to_owned(), |segment| segment.stem());
        self.directory.join(stem)
    }
}

#[cfg(test)]
mod tests {
    use std::{fs::OpenOptions, io::Write};

    use super::*;

    #[test]
    fn the_newest_whole_line_counts() {
        let directory = tempfile::tempdir().unwrap();
        let receipts = Receipts::at(directory.path());
        let name: WalFileName = "000000010000000400000024".parse().unwrap();
        let (one, two) = (Sha256::of(b"one"), Sha256::of(b"two"));
        assert_eq!(receipts.find(name).unwrap(), None);
        receipts.leave(&[(name, one)]).unwrap();
        receipts.leave(&[(name, one)]).unwrap();
        assert_eq!(receipts.find(name).unwrap(), Some(one));

        let path = directory.path().join("0000000100000004");
        assert_eq!(std::fs::read_to_string(&path).unwrap().lines().count(), 1);
        let mut torn = OpenOptions::new().append(true).open(&path).unwrap();
        write!(torn, "{two}  {name}").unwrap();
        assert_eq!(
            receipts.find(name).unwrap(),
            Some(one),
            "a torn line was believed"
        );
        receipts.leave(&[(name, two)]).unwrap();
        assert_eq!(receipts.find(name).unwrap(), Some(two));
        assert_eq!(
            receipts.find("00000002.history".parse().unwrap()).unwrap(),
            None
        );
    }
}
