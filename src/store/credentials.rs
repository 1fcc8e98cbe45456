//! The keys of an S3 store.

use std::{fmt, path::PathBuf};

use secrecy::{ExposeSecret, SecretString};

use super::{error::StoreErrorKind, retry::Failure};

/// Where a key comes from. A file is read at each use: rotating a key
/// restarts nothing.
#[derive(Debug, Clone)]
pub enum Secret {
    /// The value itself.
    Value(SecretString),
    /// A file that holds it, with or without a newline at its end.
    File(PathBuf),
}

/// An access key id and its secret. `Debug` shows neither.
#[derive(Debug, Clone)]
pub struct Credentials {
    /// The access key id.
    pub access_key_id: Secret,
    /// The secret access key.
    pub secret_access_key: Secret,
}

impl Secret {
    /// The secret as it is now, or why it cannot be had.
    pub fn reveal(&self) -> Result<SecretString, String> {
        self.read().map_err(|failure| failure.detail)
    }

    pub(super) fn read(&self) -> Result<SecretString, Failure> {
        let path = match self {
            Secret::Value(value) => return Ok(value.clone()),
            Secret::File(path) => path,
        };
        let wrong = |problem: &dyn fmt::Display| {
            let detail = format!("read \"{}\": {problem}", path.display());
            Failure::new(StoreErrorKind::NoCredentials, detail)
        };
        let text = std::fs::read_to_string(path).map_err(|error| wrong(&error))?;
        let value = text.trim_end();
        if value.is_empty() {
            return Err(wrong(&"it is empty"));
        }
        Ok(SecretString::from(value))
    }
}

impl Credentials {
    pub(super) fn read(&self) -> Result<(String, SecretString), Failure> {
        let id = self.access_key_id.read()?;
        Ok((
            id.expose_secret().to_owned(),
            self.secret_access_key.read()?,
        ))
    }
}
