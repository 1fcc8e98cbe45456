//! The two digests: SHA-256 of raw bytes, which is what a file *is* to
//! walkeep, and MD5 of stored bytes, which is what S3 can check on arrival
//! (`Content-MD5`, and the ETag of a single PUT).

use std::{fmt, io, str::FromStr};

use base64::{Engine, prelude::BASE64_STANDARD};
use md5::Digest as _;
use serde::{Deserialize, Serialize};

/// SHA-256 of a file's raw bytes, as PostgreSQL wrote them. Printed and
/// serialized as 64 lower-case hexadecimal digits, as `sha256sum` prints it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Sha256(pub [u8; 32]);

/// MD5 of an object's stored bytes. It guards a transfer; it identifies
/// nothing. Printed and serialized as 32 lower-case hexadecimal digits.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Md5(pub [u8; 16]);

/// The text is not a digest in hexadecimal digits.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("\"{text}\" is not a {digest} (expected {digits} hexadecimal digits)")]
pub struct InvalidDigest {
    text: String,
    digest: &'static str,
    digits: usize,
}

impl Sha256 {
    /// The digest of bytes that are all in memory (or mapped).
    pub fn of(bytes: &[u8]) -> Self {
        let mut hasher = Sha256Hasher::default();
        hasher.update(bytes);
        hasher.finish()
    }

    /// The digest of all that `reader` still has.
    pub fn of_reader(mut reader: impl io::Read) -> io::Result<Self> {
        let mut hasher = Sha256Hasher::default();
        let mut buffer = vec![0; 128 << 10];
        loop {
            match reader.read(&mut buffer) {
                Ok(0) => return Ok(hasher.finish()),
                Ok(read) => hasher.update(&buffer[..read]),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
    }
}

/// SHA-256 of bytes that come in pieces.
#[derive(Clone)]
pub struct Sha256Hasher(ring::digest::Context);

impl Default for Sha256Hasher {
    fn default() -> Self {
        Sha256Hasher(ring::digest::Context::new(&ring::digest::SHA256))
    }
}

impl Sha256Hasher {
    /// Adds the next bytes.
    pub fn update(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    /// The digest of everything added.
    pub fn finish(self) -> Sha256 {
        let mut digest = [0; 32];
        digest.copy_from_slice(self.0.finish().as_ref());
        Sha256(digest)
    }
}

/// Bytes are taken for their digest alone.
impl io::Write for Sha256Hasher {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.update(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Md5 {
    /// The digest of bytes that are all in memory.
    pub fn of(bytes: &[u8]) -> Self {
        Md5(md5::Md5::digest(bytes).into())
    }

    /// The form that the header `Content-MD5` takes (RFC 1864).
    pub fn base64(self) -> String {
        BASE64_STANDARD.encode(self.0)
    }
}

/// MD5 of bytes that come in pieces.
#[derive(Clone, Default)]
pub struct Md5Hasher(md5::Md5);

impl Md5Hasher {
    /// Adds the next bytes.
    pub fn update(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    /// The digest of everything added.
    pub fn finish(self) -> Md5 {
        Md5(self.0.finalize().into())
    }
}

macro_rules! hexadecimal {
    ($digest:ident, $name:literal, $bytes:literal) => {
        impl fmt::Display for $digest {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&hex::encode(self.0))
            }
        }

        impl fmt::Debug for $digest {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(self, f)
            }
        }

        impl FromStr for $digest {
            type Err = InvalidDigest;

            fn from_str(text: &str) -> Result<Self, Self::Err> {
                let mut digest = [0; $bytes];
                hex::decode_to_slice(text, &mut digest)
                    .map(|()| $digest(digest))
                    .map_err(|_| InvalidDigest {
                        text: text.to_owned(),
                        digest: $name,
                        digits: 2 * $bytes,
                    })
            }
        }

        impl TryFrom<String> for $digest {
            type Error = InvalidDigest;

            fn try_from(text: String) -> Result<Self, Self::Error> {
                text.parse()
            }
        }

        impl From<$digest> for String {
            fn from(digest: $digest) -> Self {
                digest.to_string()
            }
        }
    };
}

hexadecimal!(Sha256, "SHA-256", 32);
hexadecimal!(Md5, "MD5", 16);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn agrees_with_the_published_vectors() {
        // FIPS 180-2 appendix B.1 and RFC 1321 appendix A.5, both of "abc".
        let sha256 = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        assert_eq!(Sha256::of(b"abc").to_string(), sha256);
        assert_eq!(sha256.parse(), Ok(Sha256::of(b"abc")));
        assert_eq!(
            Md5::of(b"abc").to_string(),
            "900150983cd24fb0d6963f7d28e17f72"
        );
        assert_eq!(Md5::of(b"abc").base64(), "kAFQmDzST7DWlj99KOF/cg==");

        let (mut pieces, mut md5) = (Sha256Hasher::default(), Md5Hasher::default());
        for piece in [b"a".as_slice(), b"", b"bc"] {
            pieces.update(piece);
            md5.update(piece);
        }
        assert_eq!(
            (pieces.finish(), md5.finish()),
            (Sha256::of(b"abc"), Md5::of(b"abc"))
        );
        assert!("abc".parse::<Sha256>().is_err());
    }
}
