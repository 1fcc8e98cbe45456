//! Files that are written in pieces, in any order, by several threads, and are
//! of no use before all of them are there. Never through a link: what lies in
//! the way of a restored file may lead anywhere.

use std::{
    fs::{self, File, OpenOptions, Permissions},
    io,
    os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt},
    path::Path,
};

use nix::libc::O_NOFOLLOW;

/// Makes a file of `size` bytes, all of them zero, with these permissions. One
/// that is there keeps its bytes up to `size`; anything else of the name is
/// removed. Returns whether a file was there.
pub fn prepare(path: &Path, size: u64, mode: u32) -> io::Result<bool> {
    let found = match fs::symlink_metadata(path) {
        Ok(metadata) if metadata.is_file() => true,
        Ok(_) => {
            remove(path)?;
            false
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => false,
        Err(error) => return Err(error),
    };
    let file = OpenOptions::new()
        .read(true)
        .write(true)
        .create(!found)
        .mode(0o600)
        .custom_flags(O_NOFOLLOW)
        .open(path)?;
    // Whatever the umask is, and the file's own permissions were.
    file.set_permissions(Permissions::from_mode(mode))?;
    file.set_len(size)?;
    Ok(found)
}

/// Opens a prepared file to read and to write its pieces.
pub fn open(path: &Path) -> io::Result<File> {
    OpenOptions::new()
        .read(true)
        .write(true)
        .custom_flags(O_NOFOLLOW)
        .open(path)
}

/// Makes a directory with these permissions. One that is there keeps what is
/// in it; anything else of the name is removed. Returns whether a directory
/// was there.
pub fn prepare_directory(path: &Path, mode: u32) -> io::Result<bool> {
    let found = match fs::symlink_metadata(path) {
        Ok(metadata) if metadata.is_dir() => true,
        Ok(_) => {
            fs::remove_file(path)?;
            false
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => false,
        Err(error) => return Err(error),
    };
    if !found {
        fs::DirBuilder::new().mode(0o700).create(path)?;
    }
    fs::set_permissions(path, Permissions::from_mode(mode))?;
    Ok(found)
}

/// Removes whatever has the name: of a link the link alone, of a directory all
/// that is in it.
pub fn remove(path: &Path) -> io::Result<()> {
    if fs::symlink_metadata(path)?.is_dir() {
        fs::remove_dir_all(path)
    } else {
        fs::remove_file(path)
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{FileExt, MetadataExt, symlink};

    use super::*;

    #[test]
    fn what_is_there_is_kept_and_a_link_is_not_followed() {
        let directory = tempfile::tempdir().unwrap();
        let (path, other) = (
            directory.path().join("file"),
            directory.path().join("other"),
        );
        assert!(!prepare(&path, 100, 0o640).unwrap());
        open(&path).unwrap().write_all_at(b"kept", 10).unwrap();
        assert!(prepare(&path, 50, 0o600).unwrap());
        let mut expected = vec![0; 50];
        expected[10..14].copy_from_slice(b"kept");
        assert_eq!(fs::read(&path).unwrap(), expected);
        assert_eq!(fs::metadata(&path).unwrap().mode() & 0o777, 0o600);

        fs::write(&other, "untouched").unwrap();
        fs::remove_file(&path).unwrap();
        symlink(&other, &path).unwrap();
        assert!(open(&path).is_err());
        assert!(!prepare(&path, 5, 0o600).unwrap());
        assert_eq!(fs::read(&other).unwrap(), b"untouched");
        assert_eq!(fs::read(&path).unwrap(), [0; 5]);

        assert!(!prepare_directory(&path, 0o750).unwrap());
        fs::write(path.join("inside"), "").unwrap();
        assert!(prepare_directory(&path, 0o700).unwrap());
        assert!(path.join("inside").exists());
        assert!(!prepare(&path, 0, 0o600).unwrap());
        assert!(path.is_file());
    }
}
