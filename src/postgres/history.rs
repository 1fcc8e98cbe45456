//! Timeline history files: which timelines one descends from, and where each
//! was left (`readTimeLineHistory`, timeline.c).

use serde::{Deserialize, Serialize};

use super::{Lsn, TimelineId};

/// One line: an ancestor, and the position at which its successor left it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ancestor {
    /// The timeline that was left.
    pub timeline: TimelineId,
    /// The first position that is no longer of it.
    pub left_at: Lsn,
}

/// The text is no history file.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("line {line} of the history file is not \"TIMELINE<tab>LSN<tab>REASON\" in rising order")]
pub struct InvalidHistory {
    /// The line's number, from 1.
    pub line: usize,
}

/// Reads a history file: the ancestors of its timeline, the eldest first.
/// Empty lines and comments (`#`) are skipped, as PostgreSQL skips them.
pub fn parse(text: &str) -> Result<Vec<Ancestor>, InvalidHistory> {
    let mut ancestors: Vec<Ancestor> = Vec::new();
    for (index, line) in text.lines().enumerate() {
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let elder = ancestors.last().map(|ancestor| ancestor.timeline);
        let ancestor = parse_line(line)
            .filter(|ancestor| elder.is_none_or(|elder| elder < ancestor.timeline))
            .ok_or(InvalidHistory { line: index + 1 })?;
        ancestors.push(ancestor);
    }
    Ok(ancestors)
}

fn parse_line(line: &str) -> Option<Ancestor> {
    let mut fields = line.split_whitespace();
    let timeline = TimelineId(fields.next()?.parse().ok()?);
    let left_at = fields.next()?.parse().ok()?;
    Some(Ancestor { timeline, left_at })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_postgresql_writes() {
        let text =
            "1\t0/3000110\tno recovery target specified\n\n# note\n2\t0/5000000\tbefore 2026\n";
        let ancestors = parse(text).unwrap();
        assert_eq!(
            ancestors[0],
            Ancestor {
                timeline: TimelineId(1),
                left_at: Lsn(0x300_0110)
            }
        );
        assert_eq!(ancestors[1].timeline, TimelineId(2));
        assert_eq!(parse(""), Ok(vec![]));
    }

    #[test]
    fn names_the_line_that_is_wrong() {
        assert_eq!(
            parse("1\t0/3000110\n1\t0/4000000\n"),
            Err(InvalidHistory { line: 2 })
        );
        assert_eq!(parse("one\t0/3000110"), Err(InvalidHistory { line: 1 }));
        assert_eq!(parse("1"), Err(InvalidHistory { line: 1 }));
    }
}
