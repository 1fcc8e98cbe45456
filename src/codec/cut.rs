//! Where a file is cut into pieces: gzip's members, zstd's frames. The rule
//! looks at sizes alone, never at the number of threads: the same file gives
//! the same object everywhere.

use std::ops::Range;

const MIB: usize = 1024 * 1024;

/// No piece but an only one is smaller: each starts without a window of
/// earlier bytes, which costs size.
const MIN_PIECE: usize = 2 * MIB;

/// Which of the two rules holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Rule {
    /// For size: up to 16 MiB, a segment's usual size, is one piece; what is
    /// longer is cut every 4 MiB.
    Size,
    /// For latency: cut every 2 MiB, so that several threads share a segment.
    Latency,
}

/// The pieces that `size` bytes make under `rule`.
#[derive(Debug, Clone, Copy)]
pub(super) struct Cuts {
    size: usize,
    step: usize,
    count: usize,
}

impl Cuts {
    pub(super) fn of(size: usize, rule: Rule) -> Cuts {
        let step = match rule {
            Rule::Size if size <= 16 * MIB => size,
            Rule::Size => 4 * MIB,
            Rule::Latency => MIN_PIECE,
        };
        let count = if size == 0 {
            0
        } else {
            // A short rest joins the piece before it.
            let rest = size % step;
            (size / step + usize::from(rest >= MIN_PIECE)).max(1)
        };
        Cuts { size, step, count }
    }

    /// How many pieces; 0 for no bytes.
    pub(super) fn count(&self) -> usize {
        self.count
    }

    /// The bytes of the piece numbered `index`, from 0.
    pub(super) fn range(&self, index: usize) -> Range<usize> {
        let end = if index + 1 == self.count {
            self.size
        } else {
            (index + 1) * self.step
        };
        (index * self.step)..end
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sizes(size: usize, rule: Rule) -> Vec<usize> {
        let cuts = Cuts::of(size, rule);
        let ranges: Vec<_> = (0..cuts.count()).map(|index| cuts.range(index)).collect();
        assert!(ranges.iter().is_sorted_by_key(|range| range.start));
        assert!(ranges.windows(2).all(|pair| pair[0].end == pair[1].start));
        assert_eq!(ranges.last().map_or(0, |range| range.end), size);
        ranges.into_iter().map(|range| range.len()).collect()
    }

    #[test]
    fn a_segment_is_one_piece_and_more_is_cut() {
        use Rule::*;
        assert!(sizes(0, Size).is_empty());
        assert_eq!(sizes(1, Size), [1]);
        assert_eq!(sizes(16 * MIB, Size), [16 * MIB]);
        assert_eq!(
            sizes(16 * MIB + 1, Size),
            [4 * MIB, 4 * MIB, 4 * MIB, 4 * MIB + 1]
        );
        assert_eq!(
            sizes(18 * MIB, Size),
            [4 * MIB, 4 * MIB, 4 * MIB, 4 * MIB, 2 * MIB]
        );
        assert_eq!(sizes(1, Latency), [1]);
        assert_eq!(sizes(3 * MIB, Latency), [3 * MIB]);
        assert_eq!(sizes(5 * MIB, Latency), [2 * MIB, 3 * MIB]);
        assert_eq!(sizes(16 * MIB, Latency), [2 * MIB; 8]);
        assert!(sizes(1 << 30, Size).iter().all(|&size| size == 4 * MIB));
    }
}
