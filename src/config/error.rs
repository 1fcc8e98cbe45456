//! What is wrong with a configuration: where it stands, and what was meant.

use std::{
    fmt,
    path::{Path, PathBuf},
};

/// A configuration that cannot be used. Nothing was done.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// No file, and nothing in the environment that would do instead.
    #[error(
        "no configuration: \"{0}\" does not exist and the environment names no store; `walkeep \
         init` writes one, --config names another"
    )]
    Missing(PathBuf),
    /// The file cannot be read.
    #[error("read the configuration \"{path}\"")]
    Read {
        /// The file.
        path: PathBuf,
        /// The cause.
        source: std::io::Error,
    },
    /// The file is not what it should be.
    #[error("{0}")]
    Invalid(Invalid),
    /// A value is missing or does not fit the others.
    #[error("{place}: {problem}")]
    Value {
        /// The key, or the file and the key.
        place: String,
        /// What is wrong, and what to do.
        problem: String,
    },
    /// Others may read a file that holds a secret.
    #[error(
        "\"{0}\" holds a secret and can be read by others: chmod o-rwx it, or put the secret into \
         a file of its own (secret_access_key_file)"
    )]
    Exposed(PathBuf),
}

/// A place in the file, what is wrong there, and the nearest thing that is
/// right.
#[derive(Debug)]
pub struct Invalid {
    path: PathBuf,
    line: usize,
    column: usize,
    message: String,
    nearest: Option<String>,
}

impl fmt::Display for Invalid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Invalid {
            path,
            line,
            column,
            message,
            nearest,
        } = self;
        write!(f, "{}:{line}:{column}: {message}", path.display())?;
        match nearest {
            Some(nearest) => write!(f, "; did you mean `{nearest}`?"),
            None => Ok(()),
        }
    }
}

impl Invalid {
    /// From what the TOML reader says of `text`, the file at `path`.
    pub(super) fn new(path: &Path, text: &str, error: &toml::de::Error) -> Self {
        let at = error.span().map_or(0, |span| span.start.min(text.len()));
        let before = &text[..at];
        let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
        let message = error.message().trim().to_owned();
        Invalid {
            path: path.to_owned(),
            line: before.matches('\n').count() + 1,
            column: text[line_start..at].chars().count() + 1,
            nearest: nearest(&message),
            message,
        }
    }
}

/// serde says "unknown field `a`, expected one of `b`, `c`", and the same of a
/// variant: the known name that is closest to the unknown one, if any is.
fn nearest(message: &str) -> Option<String> {
    let unknown = message.starts_with("unknown field") || message.starts_with("unknown variant");
    let mut names = message.split('`').skip(1).step_by(2);
    let wrong = names.next().filter(|_| unknown)?;
    let distance = |name: &&str| strsim::damerau_levenshtein(wrong, name);
    names
        .min_by_key(distance)
        .filter(|name| distance(name) <= 1 + name.len() / 3)
        .map(str::to_owned)
}
