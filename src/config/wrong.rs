//! What is wrong with a key, said where it is found: by those who check one
//! table and do not know which file it stands in.

use std::path::{Path, PathBuf};

use secrecy::SecretString;

use super::ConfigError;
use crate::store::Secret;

/// What is wrong with which key.
#[derive(Debug)]
pub(super) struct Wrong {
    key: String,
    problem: String,
}

pub(super) fn wrong(key: impl Into<String>, problem: impl Into<String>) -> Wrong {
    Wrong {
        key: key.into(),
        problem: problem.into(),
    }
}

impl Wrong {
    /// Its key is one of `table`'s.
    pub(super) fn of(self, table: &str) -> Self {
        wrong(format!("{table}.{}", self.key), self.problem)
    }

    /// In the file `path`; in the environment where there is none.
    pub(super) fn in_file(self, path: Option<&Path>) -> ConfigError {
        let Wrong { key, problem } = self;
        ConfigError::Value {
            place: match path {
                Some(path) => format!("{}: {key}", path.display()),
                None => key,
            },
            problem,
        }
    }
}

/// A key that a table of this type, such as "store", has to have.
pub(super) fn missing(key: &str, table: &str) -> Wrong {
    wrong(key, format!("missing; a {table} of this type needs it"))
}

/// What is `left` once a table's own keys are taken belongs to another type.
pub(super) fn refuse_rest(
    left: impl IntoIterator<Item = (&'static str, bool)>,
    table: &str,
) -> Result<(), Wrong> {
    match left.into_iter().find(|(_, is_left)| *is_left) {
        Some((key, _)) => Err(wrong(
            key,
            format!("means nothing to a {table} of this type"),
        )),
        None => Ok(()),
    }
}

/// A value, or the file that holds it.
pub(super) fn secret(
    key: &str,
    value: Option<SecretString>,
    file: Option<PathBuf>,
) -> Result<Option<Secret>, Wrong> {
    match (value, file) {
        (Some(value), None) => Ok(Some(Secret::Value(value))),
        (None, Some(file)) => Ok(Some(Secret::File(file))),
        (None, None) => Ok(None),
        (Some(_), Some(_)) => Err(wrong(key, "given twice: as a value and as a file")),
    }
}
