//! Holds a base backup against its `backup_manifest` (docs, "Backup Manifest
//! Format"), file by file as they are read off it: a cluster may have a million.

use std::{
    collections::HashSet,
    fs::{self, File},
    hash::{DefaultHasher, Hash, Hasher},
    io::{self, BufReader, Read, Seek, SeekFrom},
    path::Path,
    sync::{Mutex, PoisonError, mpsc},
    thread,
};

use jiff::{Timestamp, civil::DateTime, tz::TimeZone};
use serde::{
    Deserialize, Deserializer,
    de::{DeserializeSeed, Error as _, IgnoredAny, MapAccess, SeqAccess, Visitor},
};
use sha2::Digest;

use super::ImportError;
use crate::{
    backup::{listing::EntryPath, scan::Scan},
    codec::Sha256,
    postgres::{Lsn, TimelineId},
};

/// What `pg_basebackup -R` changes after the server has sent it; also passed
/// over by `pg_verifybackup`.
const CHANGED: &[u8] = b"postgresql.auto.conf";
/// Files that wait to be checked.
const QUEUE: usize = 64;
/// More than the last line has, in bytes.
const LAST_LINE: u64 = 512;
const PIECE: usize = 1 << 20;

/// What a manifest says whose files are right.
#[derive(Debug, Default)]
pub(super) struct Verified {
    /// Whose it is, from 17 on.
    pub(super) system_id: Option<u64>,
    /// The WAL that it needs.
    pub(super) ranges: Vec<WalRange>,
    /// When the server sent `backup_label`: right after the start.
    pub(super) started: Option<Timestamp>,
}

/// The WAL of one timeline.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct WalRange {
    pub(super) timeline: TimelineId,
    #[serde(rename = "Start-LSN")]
    pub(super) start: Lsn,
    #[serde(rename = "End-LSN")]
    pub(super) end: Lsn,
}

/// A line of the manifest.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Listed {
    path: Option<String>,
    #[serde(rename = "Encoded-Path")]
    encoded_path: Option<String>,
    size: u64,
    #[serde(rename = "Last-Modified")]
    modified: String,
    #[serde(rename = "Checksum-Algorithm")]
    algorithm: Option<String>,
    checksum: Option<String>,
}

/// Reads `manifest` and checks every file below `data` that it lists, by
/// `threads` threads. That nothing is there besides is checked, too.
pub(super) fn verify(
    manifest: &Path,
    data: &Path,
    threads: usize,
) -> Result<Verified, ImportError> {
    let file = File::open(manifest).map_err(ImportError::io("open", manifest))?;
    check_itself(&file, manifest)?;
    let mut verified = Verified::default();
    let mut listed = HashSet::new();
    let failure: Mutex<Option<ImportError>> = Mutex::new(None);
    let fail = |error| {
        let mut failure = failure.lock().unwrap_or_else(PoisonError::into_inner);
        failure.get_or_insert(error);
    };
    let (work, queue) = mpsc::sync_channel::<(EntryPath, Listed)>(QUEUE);
    let queue = Mutex::new(queue);
    let parsed = thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                loop {
                    let next = queue.lock().unwrap_or_else(PoisonError::into_inner).recv();
                    let Ok((path, file)) = next else { return };
                    if let Err(error) = check(data, &path, &file) {
                        fail(error);
                    }
                }
            });
        }
        let mut take = |file: Listed| {
            let path = file.entry_path()?;
            if path.as_bytes() == b"backup_label" {
                verified.started = file.modified();
            }
            listed.insert(hash(path.as_bytes()));
            let failed = failure.lock().unwrap_or_else(PoisonError::into_inner);
            if failed.is_some() {
                return Err("a file is not what it lists".to_owned());
            }
            // A thread that waits for it is needed for the queue to move.
            drop(failed);
            work.send((path, file)).map_err(|error| error.to_string())
        };
        let reader = BufReader::with_capacity(PIECE, &file);
        let mut json = serde_json::Deserializer::from_reader(reader);
        let top = Top { take: &mut take }.deserialize(&mut json);
        drop(work);
        top
    });
    if let Some(failure) = failure.into_inner().unwrap_or_else(PoisonError::into_inner) {
        return Err(failure);
    }
    let (system_id, ranges) =
        parsed.map_err(|error| ImportError::Manifest(manifest.to_owned(), error.to_string()))?;
    (verified.system_id, verified.ranges) = (system_id, ranges);
    check_nothing_besides(data, &listed)?;
    Ok(verified)
}

impl Listed {
    fn entry_path(&self) -> Result<EntryPath, String> {
        let bytes = match (&self.path, &self.encoded_path) {
            (Some(path), _) => path.clone().into_bytes(),
            (None, Some(encoded)) => hex::decode(encoded).map_err(|error| error.to_string())?,
            (None, None) => return Err("a file without a path".to_owned()),
        };
        EntryPath::new(bytes).map_err(|error| error.to_string())
    }

    /// `2026-11-20 02:00:00 GMT`.
    fn modified(&self) -> Option<Timestamp> {
        let time: DateTime = self.modified.strip_suffix(" GMT")?.parse().ok()?;
        Some(time.to_zoned(TimeZone::UTC).ok()?.timestamp())
    }
}

/// The last line has the SHA-256 of everything before it.
fn check_itself(mut file: &File, path: &Path) -> Result<(), ImportError> {
    let failed = |cause| ImportError::io("read", path)(cause);
    let cut = || ImportError::Manifest(path.to_owned(), "its end is missing".to_owned());
    let size = file.metadata().map_err(failed)?.len();
    let from = size.saturating_sub(LAST_LINE);
    file.seek(SeekFrom::Start(from)).map_err(failed)?;
    let mut end = Vec::new();
    file.read_to_end(&mut end).map_err(failed)?;
    let end = String::from_utf8_lossy(&end);
    let at = end.rfind("\"Manifest-Checksum\"").ok_or_else(cut)?;
    let said = end[at..].split('"').nth(3).ok_or_else(cut)?;
    file.rewind().map_err(failed)?;
    let before = file.take(from + at as u64);
    let found = Sha256::of_reader(before).map_err(failed)?;
    if found.to_string() != said {
        let why = "its own checksum is wrong".to_owned();
        return Err(ImportError::Manifest(path.to_owned(), why));
    }
    file.rewind().map_err(failed)
}

fn check(data: &Path, path: &EntryPath, listed: &Listed) -> Result<(), ImportError> {
    let source = data.join(path.as_path());
    let differs = |how: String| ImportError::Differs(path.to_string(), how);
    let mut file = match File::open(&source) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            return Err(differs("is missing".to_owned()));
        }
        Err(error) => return Err(ImportError::io("open", &source)(error)),
    };
    if path.as_bytes() == CHANGED {
        return Ok(());
    }
    let size = file.metadata().map_err(ImportError::io("read", &source))?;
    if size.len() != listed.size {
        let (is, said) = (size.len(), listed.size);
        return Err(differs(format!("has {is} bytes instead of {said}")));
    }
    let (Some(algorithm), Some(expected)) = (&listed.algorithm, &listed.checksum) else {
        return Ok(());
    };
    let found = checksum(algorithm, &mut file).map_err(ImportError::io("read", &source))?;
    match found {
        Some(found) if !found.eq_ignore_ascii_case(expected) => {
            Err(differs(format!("has another {algorithm} checksum")))
        }
        _ => Ok(()),
    }
}

/// In hexadecimal digits, as a manifest has it; none by an algorithm that is
/// not known.
fn checksum(algorithm: &str, file: &mut File) -> io::Result<Option<String>> {
    let digest = match algorithm {
        "CRC32C" => {
            let mut crc = 0;
            each_piece(file, |piece| crc = crc32c::crc32c_append(crc, piece))?;
            // As the server has it in memory.
            return Ok(Some(hex::encode(crc.to_le_bytes())));
        }
        "SHA224" => sha::<sha2::Sha224>(file)?,
        "SHA256" => sha::<sha2::Sha256>(file)?,
        "SHA384" => sha::<sha2::Sha384>(file)?,
        "SHA512" => sha::<sha2::Sha512>(file)?,
        _ => return Ok(None),
    };
    Ok(Some(digest))
}

fn sha<D: Digest>(file: &mut File) -> io::Result<String> {
    let mut digest = D::new();
    each_piece(file, |piece| digest.update(piece))?;
    Ok(hex::encode(digest.finalize()))
}

fn each_piece(file: &mut File, mut take: impl FnMut(&[u8])) -> io::Result<()> {
    let mut piece = vec![0; PIECE];
    loop {
        match file.read(&mut piece) {
            Ok(0) => return Ok(()),
            Ok(size) => take(&piece[..size]),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}

/// A file that the manifest does not know came after the backup.
fn check_nothing_besides(data: &Path, listed: &HashSet<u64>) -> Result<(), ImportError> {
    let mut scan = Scan::of(data)?;
    while let Some(found) = scan.find_next()? {
        let path = found.path.as_bytes();
        if found.file.is_some() && path != CHANGED && !listed.contains(&hash(path)) {
            let how = "is not in it".to_owned();
            return Err(ImportError::Differs(found.path.to_string(), how));
        }
    }
    Ok(())
}

fn hash(path: &[u8]) -> u64 {
    let mut hasher = DefaultHasher::new();
    path.hash(&mut hasher);
    hasher.finish()
}

/// Whether there is a file; a directory is none.
pub(super) fn is_file(path: &Path) -> bool {
    fs::metadata(path).is_ok_and(|metadata| metadata.is_file())
}

/// What is done with each file.
type Take<'a> = &'a mut dyn FnMut(Listed) -> Result<(), String>;

/// The manifest; gives whose it is and its ranges.
struct Top<'a> {
    take: Take<'a>,
}

impl<'de> DeserializeSeed<'de> for Top<'_> {
    type Value = (Option<u64>, Vec<WalRange>);

    fn deserialize<D: Deserializer<'de>>(self, input: D) -> Result<Self::Value, D::Error> {
        input.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for Top<'_> {
    type Value = (Option<u64>, Vec<WalRange>);

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("a backup_manifest")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let (mut system_id, mut ranges) = (None, None);
        while let Some(key) = map.next_key::<String>()? {
            match key.as_str() {
                "PostgreSQL-Backup-Manifest-Version" => {
                    let version: u32 = map.next_value()?;
                    if !(1..=2).contains(&version) {
                        let problem = format!("version {version}, which is not known");
                        return Err(A::Error::custom(problem));
                    }
                }
                "System-Identifier" => system_id = Some(map.next_value()?),
                "Files" => map.next_value_seed(Files {
                    take: &mut *self.take,
                })?,
                "WAL-Ranges" => ranges = Some(map.next_value()?),
                _ => drop(map.next_value::<IgnoredAny>()?),
            }
        }
        let ranges = ranges.ok_or_else(|| A::Error::missing_field("WAL-Ranges"))?;
        Ok((system_id, ranges))
    }
}

struct Files<'a> {
    take: Take<'a>,
}

impl<'de> DeserializeSeed<'de> for Files<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, input: D) -> Result<(), D::Error> {
        input.deserialize_seq(self)
    }
}

impl<'de> Visitor<'de> for Files<'_> {
    type Value = ();

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("files")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut files: A) -> Result<(), A::Error> {
        while let Some(file) = files.next_element::<Listed>()? {
            (self.take)(file).map_err(A::Error::custom)?;
        }
        Ok(())
    }
}
