//! The part of `global/pg_control` that stands in the same place in every
//! version (`ControlFileData`, pg_control.h): its first fields.

use super::SystemId;

/// What the first bytes of `pg_control` say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Control {
    /// The cluster's identity.
    pub system_id: SystemId,
    /// `pg_control_version`: the layout of the rest (1300 in 13 to 16, 1700
    /// in 17, 1800 in 18).
    pub version: u32,
}

/// The settings that a hot standby, and a recovery that may be watched, must
/// have at least as high as the server that wrote the WAL
/// (`CheckRequiredParameterValues`, xlogrecovery.c).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// `max_connections`.
    pub connections: u32,
    /// `max_worker_processes`.
    pub worker_processes: u32,
    /// `max_wal_senders`.
    pub wal_senders: u32,
    /// `max_prepared_transactions`.
    pub prepared_transactions: u32,
    /// `max_locks_per_transaction`.
    pub locks_per_transaction: u32,
}

/// How the cluster's files are laid out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Shape {
    /// `blcksz`: bytes in a page.
    pub block_size: u32,
    /// `data_checksum_version`: whether pages have checksums.
    pub data_checksums: bool,
}

/// The bytes are no `pg_control` that this machine could have written.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("pg_control is damaged, or of a machine with another byte order")]
pub struct InvalidControl;

impl Control {
    /// Reads the first twelve bytes of `pg_control`.
    pub fn parse(bytes: &[u8]) -> Result<Self, InvalidControl> {
        let (id, rest) = bytes.split_first_chunk::<8>().ok_or(InvalidControl)?;
        let version = u32::from_le_bytes(*rest.first_chunk::<4>().ok_or(InvalidControl)?);
        let system_id = SystemId(u64::from_le_bytes(*id));
        // The version is MAJOR * 100 since 9.6; swapped bytes give a number
        // in the millions.
        if system_id.0 == 0 || !(900..=9900).contains(&version) {
            return Err(InvalidControl);
        }
        Ok(Control { system_id, version })
    }

    /// The limits of the server that wrote it; none of a major version that is
    /// not known to have them in this place.
    pub fn limits(&self, bytes: &[u8]) -> Option<Limits> {
        /// `MaxConnections` in 13 to 18; the others follow it.
        const AT: usize = 180;
        matches!(self.version, 1300 | 1700 | 1800).then_some(())?;
        let numbers = bytes.get(AT..AT + 20)?.as_chunks::<4>().0;
        // All of them are C's `int`, and none goes beyond this
        // (`MAX_BACKENDS`, postmaster.h).
        let number = |index: usize| {
            let number = u32::from_le_bytes(numbers[index]);
            (number <= 0x003F_FFFF).then_some(number)
        };
        Some(Limits {
            connections: number(0).filter(|count| *count > 0)?,
            worker_processes: number(1)?,
            wal_senders: number(2)?,
            prepared_transactions: number(3)?,
            locks_per_transaction: number(4)?,
        })
    }

    /// How files are laid out; none of a major version that is not known to say
    /// it in this place.
    pub fn shape(&self, bytes: &[u8]) -> Option<Shape> {
        /// In 13 to 18.
        const BLOCK_SIZE: usize = 216;
        const CHECKSUMS: usize = 252;
        matches!(self.version, 1300 | 1700 | 1800).then_some(())?;
        let number = |at: usize| {
            let bytes = bytes.get(at..)?.first_chunk()?;
            Some(u32::from_le_bytes(*bytes))
        };
        Some(Shape {
            // `--with-blocksize`, configure.ac.
            block_size: number(BLOCK_SIZE).filter(|size| (1 << 10..=1 << 15).contains(size))?,
            data_checksums: number(CHECKSUMS)? != 0,
        })
    }

    /// Whether all of the file was read in one moment: its CRC-32C stands
    /// behind the last field, where that is in this major version.
    pub fn is_whole(bytes: &[u8]) -> bool {
        // `sizeof(ControlFileData)` less the CRC, rounded: 288 to 304 bytes in
        // 13 to 18. A CRC that happens to match in another place of four is as
        // likely as one that happens to match torn bytes.
        (240..=400).step_by(4).any(|end| {
            let Some((covered, rest)) = bytes.split_at_checked(end) else {
                return false;
            };
            let stored = rest.first_chunk().map(|crc| u32::from_le_bytes(*crc));
            stored == Some(crc32c::crc32c(covered))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_identity_and_version_and_refuses_the_rest() {
        let mut bytes = 7_300_000_000_000_000_001u64.to_le_bytes().to_vec();
        bytes.extend(1300u32.to_le_bytes());
        let control = Control {
            system_id: SystemId(7_300_000_000_000_000_001),
            version: 1300,
        };
        assert_eq!(Control::parse(&bytes), Ok(control));
        assert_eq!(Control::parse(&bytes[..11]), Err(InvalidControl));
        assert_eq!(Control::parse(&[0; 512]), Err(InvalidControl));
        bytes[8..12].reverse();
        assert_eq!(Control::parse(&bytes), Err(InvalidControl));
    }
}
