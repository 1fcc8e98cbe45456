//! The zero tail. A segment that was switched early, or one that
//! `archive_timeout` ended, is megabytes of zeros at its end. They become a
//! piece of their own, which is *written*, not compressed.

/// Tails start at a boundary of PostgreSQL's pages (XLOG_BLCKSZ, BLCKSZ: 8192
/// bytes unless built otherwise), so that what is before them stays in whole
/// pages.
const PAGE: usize = 8192;

/// A shorter tail is left to the encoder: it saves too little time to be worth
/// a member's header and trailer.
const MIN_TAIL: usize = 64 * 1024;

/// A page of zeros, to compare with and to hash instead of the tail itself:
/// these stay in the CPU's nearest cache.
static ZEROS: [u8; PAGE] = [0; PAGE];

/// Cuts `raw` into what has to be compressed and the number of zeros after it.
pub(super) fn split(raw: &[u8]) -> (&[u8], u64) {
    let mut end = raw.len();
    // The file's last page may be a part of one. Comparing slices is memcmp,
    // which is fast in every build.
    while end > 0 {
        let start = (end - 1) / PAGE * PAGE;
        if raw[start..end] != ZEROS[..end - start] {
            break;
        }
        end = start;
    }
    let tail = raw.len() - end;
    if tail < MIN_TAIL {
        return (raw, 0);
    }
    (&raw[..end], tail as u64)
}

/// Calls `update` with zeros, `count` of them altogether.
pub(super) fn feed(count: u64, mut update: impl FnMut(&[u8])) {
    let mut left = count;
    while left > 0 {
        let size = left.min(PAGE as u64);
        update(&ZEROS[..size as usize]);
        left -= size;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tail_is_cut_at_a_page_and_only_when_long() {
        let raw = |data: usize, zeros: usize| {
            let mut raw = vec![1; data];
            raw.resize(data + zeros, 0);
            raw
        };
        let cut = |data, zeros| {
            let raw = raw(data, zeros);
            let (body, tail) = split(&raw);
            (body.len(), tail as usize)
        };
        assert_eq!(cut(0, 0), (0, 0));
        assert_eq!(cut(0, 100), (100, 0));
        assert_eq!(cut(0, MIN_TAIL), (0, MIN_TAIL));
        assert_eq!(cut(0, MIN_TAIL + 1), (0, MIN_TAIL + 1));
        assert_eq!(cut(1, MIN_TAIL), (MIN_TAIL + 1, 0));
        assert_eq!(cut(1, MIN_TAIL + PAGE), (PAGE, MIN_TAIL + 1));
        assert_eq!(cut(PAGE, MIN_TAIL), (PAGE, MIN_TAIL));
        assert_eq!(cut(PAGE + 1, MIN_TAIL), (PAGE + 1 + MIN_TAIL, 0));
        assert_eq!(cut(1 << 20, 15 << 20), (1 << 20, 15 << 20));
    }
}
