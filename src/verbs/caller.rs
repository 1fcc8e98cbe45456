//! Who reads the exit code. PostgreSQL gives some codes a meaning that no
//! failure of ours may take, however early or badly it fails
//! (`docs/EXIT-CODES.md`).

use std::ffi::OsString;

/// Who started this process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Caller {
    /// A person, a script or a timer.
    Person,
    /// PostgreSQL's archiver, by `archive_command`: above 125, or killed by a
    /// signal, aborts the archiver (`pgarch_archiveXlog`, pgarch.c).
    Archiver,
    /// PostgreSQL's startup process, by `restore_command`: 1 to 125 says that
    /// the file does not exist, so that recovery ends there; 143 is a shutdown
    /// (`RestoreArchivedFile`, xlogarchive.c).
    Recovery,
}

/// The file is proved absent; for other verbs, the answer is no.
pub const NO: u8 = 1;
/// Wrong usage or configuration.
pub const USAGE: u8 = 2;
/// What ends recovery without ending it as a success.
pub const FETCH_FAILED: u8 = 200;

impl Caller {
    /// Told from the arguments, before clap has understood them: `wal push`
    /// and `wal fetch`, with options anywhere.
    pub fn of(arguments: impl Iterator<Item = OsString>) -> Self {
        // What is behind it is another program's.
        let words: Vec<OsString> = arguments.take_while(|word| word != "--").collect();
        let after_wal = words.iter().skip_while(|word| *word != "wal").skip(1);
        for word in after_wal {
            match word.to_str() {
                Some("push") => return Caller::Archiver,
                Some("fetch") => return Caller::Recovery,
                _ => {}
            }
        }
        Caller::Person
    }

    /// The exit code for arguments that clap refused.
    pub fn usage_error(self) -> u8 {
        match self {
            Caller::Person | Caller::Archiver => USAGE,
            Caller::Recovery => FETCH_FAILED,
        }
    }

    /// The exit code for a verb that answered `code`.
    pub fn answer(self, code: u8) -> u8 {
        match (self, code) {
            (Caller::Recovery, 0 | NO) | (Caller::Person, _) => code,
            (Caller::Recovery, _) => FETCH_FAILED,
            (Caller::Archiver, _) => code.min(125),
        }
    }

    /// The exit code for a verb that failed with `code`.
    pub fn failure(self, code: u8) -> u8 {
        match self {
            Caller::Recovery => FETCH_FAILED,
            Caller::Person | Caller::Archiver => code.clamp(1, 125),
        }
    }

    /// The exit code for a panic.
    pub fn panic(self) -> u8 {
        self.failure(101)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(line: &str) -> Caller {
        Caller::of(line.split_whitespace().map(OsString::from))
    }

    #[test]
    fn postgresql_is_known_before_its_arguments_are() {
        assert_eq!(of("wal push pg_wal/x"), Caller::Archiver);
        assert_eq!(of("--config /x wal -v fetch"), Caller::Recovery);
        assert_eq!(of("wal --no-such fetch a b"), Caller::Recovery);
        assert_eq!(of("wal list"), Caller::Person);
        assert_eq!(of("ship"), Caller::Person);
        assert_eq!(of("extract -- sh wal push"), Caller::Person);
        assert_eq!(of("wal push -- pg_wal/x"), Caller::Archiver);
    }

    #[test]
    fn no_failure_takes_a_code_that_means_something_to_postgresql() {
        for code in 0..=255 {
            assert!((1..=125).contains(&Caller::Archiver.failure(code)));
            assert!(Caller::Archiver.answer(code) <= 125);
            assert_eq!(Caller::Recovery.failure(code), FETCH_FAILED);
            assert!(matches!(
                Caller::Recovery.answer(code),
                0 | NO | FETCH_FAILED
            ));
        }
        assert_eq!(Caller::Recovery.panic(), FETCH_FAILED);
    }
}
