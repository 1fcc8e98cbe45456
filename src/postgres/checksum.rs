//! The checksum of a page (`pg_checksum_page`, storage/checksum_impl.h): an
//! FNV-1a over 32 columns at once, folded to 16 bits with the page's number.

use super::Lsn;

/// The size of a page in bytes (`BLCKSZ`); clusters with others have no
/// checksums that this module knows.
pub const PAGE: usize = 8192;

/// How many pages a file of a relation has at the most (`RELSEG_SIZE`): 1 GiB.
pub const PAGES_A_FILE: u64 = 131_072;

const COLUMNS: usize = 32;
const PRIME: u32 = 16_777_619;

/// The starting values of the columns: PostgreSQL's own random numbers.
const BASIS: [u32; COLUMNS] = [
    0x5B1F_36E9,
    0xB852_5960,
    0x02AB_50AA,
    0x1DE6_6D2A,
    0x79FF_467A,
    0x9BB9_F8A3,
    0x217E_7CD2,
    0x83E1_3D2C,
    0xF8D4_474F,
    0xE39E_B970,
    0x42C6_AE16,
    0x9932_16FA,
    0x7B09_3B5D,
    0x98DA_FF3C,
    0xF718_902A,
    0x0B1C_9CDB,
    0xE58F_764B,
    0x1876_36BC,
    0x5D7B_3BB1,
    0xE73D_E7DE,
    0x92BE_C979,
    0xCCA6_C0B2,
    0x304A_0979,
    0x85AA_43D4,
    0x7831_25BB,
    0x6CA8_EAA2,
    0xE407_EAC6,
    0x4B5C_FC3E,
    0x9FBF_8C76,
    0x15CA_20BE,
    0xF2CA_9FD3,
    0x959B_D756,
];

/// What a page's checksum says about it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PageState {
    /// The checksum is right, or the page is new (all zero).
    Sound,
    /// It is wrong. A page that was changed at or after a backup's start is
    /// mended by replay: its LSN tells.
    Wrong {
        /// Where the WAL record of its last change ends.
        lsn: Lsn,
    },
}

/// Looks at page number `number` of its relation (over all of its files).
pub fn examine(page: &[u8; PAGE], number: u32) -> PageState {
    // pd_upper is zero in new pages alone (PageIsNew, bufpage.h). What else
    // such a page holds, PostgreSQL zeroes when it reads it, or refuses.
    let is_new = page[14..16] == [0, 0];
    if is_new && page.iter().all(|byte| *byte == 0) {
        return PageState::Sound;
    }
    if !is_new && u16::from_le_bytes([page[8], page[9]]) == checksum(page, number) {
        return PageState::Sound;
    }
    let half = |at: usize| {
        let bytes = page[at..].first_chunk().copied().unwrap_or_default();
        u64::from(u32::from_le_bytes(bytes))
    };
    PageState::Wrong {
        lsn: Lsn(half(0) << 32 | half(4)),
    }
}

/// The checksum that the page should have. Its own field counts as zero.
pub fn checksum(page: &[u8; PAGE], number: u32) -> u16 {
    let mut sums = BASIS;
    let mix = |sums: &mut [u32; COLUMNS], row: &[u32; COLUMNS]| {
        for (sum, value) in sums.iter_mut().zip(row) {
            let mixed = *sum ^ value;
            *sum = mixed.wrapping_mul(PRIME) ^ (mixed >> 17);
        }
    };
    for (index, row) in page.as_chunks::<{ 4 * COLUMNS }>().0.iter().enumerate() {
        let mut values = [0; COLUMNS];
        for (value, bytes) in values.iter_mut().zip(row.as_chunks::<4>().0) {
            *value = u32::from_le_bytes(*bytes);
        }
        if index == 0 {
            // pd_checksum: bytes 8 and 9.
            values[2] &= 0xFFFF_0000;
        }
        mix(&mut sums, &values);
    }
    // Two rounds of zeros mix in the last row.
    mix(&mut sums, &[0; COLUMNS]);
    mix(&mut sums, &[0; COLUMNS]);
    let folded = sums.iter().fold(0, |all, sum| all ^ sum) ^ number;
    // Never zero, so that a page without one can be told.
    (folded % 65_535 + 1) as u16
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flip_of_any_bit_is_seen_and_new_pages_are_sound() {
        let mut page = [0; PAGE];
        assert_eq!(examine(&page, 3), PageState::Sound);
        for (at, byte) in page.iter_mut().enumerate() {
            *byte = (at * 7 + at / 256) as u8;
        }
        page[..8].copy_from_slice(&[4, 0, 0, 0, 0x28, 0, 0, 0x24]);
        let sum = checksum(&page, 3);
        page[8..10].copy_from_slice(&sum.to_le_bytes());
        assert_eq!(examine(&page, 3), PageState::Sound);
        assert_ne!(examine(&page, 4), PageState::Sound);
        for bit in (0..8 * PAGE).step_by(97) {
            let mut flipped = page;
            flipped[bit / 8] ^= 1 << (bit % 8);
            assert_ne!(examine(&flipped, 3), PageState::Sound, "bit {bit}");
        }
        page[100] ^= 1;
        let lsn = Lsn(0x4_2400_0028);
        assert_eq!(examine(&page, 3), PageState::Wrong { lsn });
    }
}
