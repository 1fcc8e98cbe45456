//! `backup_label` and `tablespace_map`, as the stop call of a base backup
//! gives them (`build_backup_content`, xlogbackup.c; `do_pg_backup_start`,
//! xlog.c).

use super::{Lsn, TimelineId};

/// What `backup_label` says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BackupLabel {
    /// Where replay begins.
    pub start_lsn: Lsn,
    /// On which timeline.
    pub timeline: TimelineId,
    /// Whether the server was a standby.
    pub from_standby: bool,
    /// Whether most files are parts only, to be completed by another backup's
    /// (17 and later).
    pub incremental: bool,
}

/// A line is missing, or makes no sense.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidLabel {
    /// Of `backup_label`.
    #[error("backup_label has no valid \"{0}\"")]
    Label(&'static str),
    /// Of `tablespace_map`.
    #[error("\"{0}\" is no line of a tablespace_map")]
    Map(String),
}

impl BackupLabel {
    /// Reads the text.
    pub fn parse(text: &str) -> Result<Self, InvalidLabel> {
        let find = |key: &'static str| {
            let line = text.lines().find_map(|line| line.strip_prefix(key));
            line.and_then(|rest| rest.strip_prefix(": "))
                .ok_or(InvalidLabel::Label(key))
        };
        const START: &str = "START WAL LOCATION";
        const TIMELINE: &str = "START TIMELINE";
        let start = find(START)?.split(' ').next().unwrap_or_default();
        let timeline = find(TIMELINE)?.parse();
        Ok(BackupLabel {
            start_lsn: start.parse().map_err(|_| InvalidLabel::Label(START))?,
            timeline: TimelineId(timeline.map_err(|_| InvalidLabel::Label(TIMELINE))?),
            from_standby: find("BACKUP FROM")? == "standby",
            incremental: find("INCREMENTAL FROM LSN").is_ok(),
        })
    }
}

/// Reads a `tablespace_map`: each tablespace's OID and where its link led.
pub fn parse_tablespace_map(text: &str) -> Result<Vec<(u32, String)>, InvalidLabel> {
    let mut tablespaces = Vec::new();
    // A newline in a path stands behind a backslash, and so does a backslash.
    let (mut line, mut escaped) = (String::new(), false);
    for character in text.chars() {
        match character {
            '\\' if !escaped => escaped = true,
            '\n' if !escaped => tablespaces.push(parse_map_line(&std::mem::take(&mut line))?),
            character => {
                line.push(character);
                escaped = false;
            }
        }
    }
    if !line.is_empty() {
        tablespaces.push(parse_map_line(&line)?);
    }
    Ok(tablespaces)
}

fn parse_map_line(line: &str) -> Result<(u32, String), InvalidLabel> {
    line.split_once(' ')
        .and_then(|(oid, path)| Some((oid.parse().ok()?, path.to_owned())))
        .ok_or_else(|| InvalidLabel::Map(line.to_owned()))
}

/// Writes a `tablespace_map`.
pub fn tablespace_map<'a>(tablespaces: impl Iterator<Item = (u32, &'a str)>) -> String {
    let mut text = String::new();
    for (oid, path) in tablespaces {
        text.push_str(&oid.to_string());
        text.push(' ');
        for character in path.chars() {
            if matches!(character, '\n' | '\r' | '\\') {
                text.push('\\');
            }
            text.push(character);
        }
        text.push('\n');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    const LABEL: &str = "START WAL LOCATION: 4/24000028 (file 000000020000000400000024)\n\
                         CHECKPOINT LOCATION: 4/24000060\nBACKUP METHOD: streamed\n\
                         BACKUP FROM: standby\nSTART TIME: 2026-11-20 02:00:00 UTC\n\
                         LABEL: a START TIMELINE: 9\nSTART TIMELINE: 2\n";

    #[test]
    fn reads_what_the_server_gives() {
        let label = BackupLabel {
            start_lsn: Lsn(0x4_2400_0028),
            timeline: TimelineId(2),
            from_standby: true,
            incremental: false,
        };
        assert_eq!(BackupLabel::parse(LABEL), Ok(label));
        let part = format!("{LABEL}INCREMENTAL FROM LSN: 4/20000028\n");
        assert!(BackupLabel::parse(&part).is_ok_and(|label| label.incremental));
        let cut = LABEL.replace("START TIMELINE: 2", "");
        assert_eq!(
            BackupLabel::parse(&cut),
            Err(InvalidLabel::Label("START TIMELINE"))
        );
    }

    #[test]
    fn paths_of_tablespaces_come_back() {
        let paths = [(16400, "/srv/a b"), (16401, "/srv/new\nline\\x")];
        let text = tablespace_map(paths.into_iter());
        let read = parse_tablespace_map(&text).unwrap();
        assert_eq!(read, paths.map(|(oid, path)| (oid, path.to_owned())));
        assert!(parse_tablespace_map("x /srv\n").is_err());
    }
}
