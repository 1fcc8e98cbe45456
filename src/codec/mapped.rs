//! A file's bytes without reading them into a buffer.

use std::{fs::File, io, ops::Deref};

use memmap2::{Advice, Mmap};

/// A read-only mapping of a whole file; of an empty one, no bytes.
///
/// Only for files that nobody shortens meanwhile: staged segments and spool
/// files, which walkeep writes once, under another name, before anybody maps
/// them. Reading the lost end of a file that was shortened kills the process
/// (SIGBUS), so PostgreSQL's own data files are read, never mapped.
#[derive(Debug)]
pub struct Mapped(Mmap);

impl Mapped {
    /// Maps the file as long as it is now. The kernel is told that it will be
    /// read from start to end.
    pub fn open(file: &File) -> io::Result<Mapped> {
        // SAFETY: the bytes of a mapping must not change while they are
        // borrowed. The files that are mapped (see above) are complete before
        // they get the name they are opened by, and are not written again:
        // they are only ever unlinked, which leaves the mapping as it is.
        let map = unsafe { Mmap::map(file)? };
        // Only advice: without it the pages are read all the same.
        let _ = map.advise(Advice::Sequential);
        Ok(Mapped(map))
    }
}

impl Deref for Mapped {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.0
    }
}

impl AsRef<[u8]> for Mapped {
    fn as_ref(&self) -> &[u8] {
        self
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    #[test]
    fn maps_a_file_and_an_empty_one() {
        let mut file = tempfile::tempfile().unwrap();
        assert_eq!(&*Mapped::open(&file).unwrap(), b"");
        file.write_all(b"a segment").unwrap();
        let mapped = Mapped::open(&file).unwrap();
        drop(file);
        assert_eq!(&*mapped, b"a segment");
    }
}
