//! What the arguments mean.

use std::{collections::BTreeMap, path::PathBuf};

use jiff::{Timestamp, civil::DateTime, tz::TimeZone};

use super::{planned, usage};
use crate::{
    cli,
    config::ConfigError,
    recovery::{
        plan::{Request, Target},
        settings::Action,
    },
};

/// What is asked for, checked.
pub(super) struct Asked {
    pub(super) request: Request,
    pub(super) tablespaces: BTreeMap<PathBuf, PathBuf>,
    action: Option<cli::Action>,
}

/// Where a recovery is to stop.
pub(in crate::verbs) fn request(arguments: &cli::Target) -> Result<Request, ConfigError> {
    let cli::Target {
        to_time,
        to_xid,
        to_lsn,
        to_name,
        immediate,
        ..
    } = arguments;
    let time = to_time.as_deref().map(|text| time(text, Timestamp::now()));
    let target = match (time.transpose()?, to_xid, to_lsn, to_name, immediate) {
        (Some(time), ..) => Target::Time(time),
        (_, Some(xid), ..) => Target::Xid(*xid),
        (_, _, Some(lsn), ..) => Target::Lsn(*lsn),
        (_, _, _, Some(name), _) => Target::Name(name.clone()),
        (.., true) => Target::Immediate,
        _ => Target::Latest,
    };
    let timeline = arguments.timeline.as_deref().map(planned::timeline);
    Ok(Request {
        target,
        exclusive: arguments.exclusive,
        timeline: timeline.transpose()?,
        backup: arguments.backup.map(|id| id.to_string()),
    })
}

impl Asked {
    pub(super) fn of(arguments: &cli::Restore) -> Result<Self, ConfigError> {
        let mut tablespaces = BTreeMap::new();
        for pair in &arguments.tablespace {
            let split = pair
                .split_once('=')
                .filter(|(old, new)| !old.is_empty() && !new.is_empty());
            let Some((old, new)) = split else {
                let problem = format!("\"{pair}\" is not OLD=NEW");
                return Err(usage("--tablespace", problem));
            };
            if tablespaces.insert(old.into(), new.into()).is_some() {
                return Err(usage("--tablespace", format!("\"{old}\" is named twice")));
            }
        }
        Ok(Asked {
            request: request(&arguments.target)?,
            tablespaces,
            action: arguments.action,
        })
    }

    /// What the server does at the target. A person who gave one wants to look
    /// first.
    pub(super) fn action(&self, by_a_person: bool) -> Action {
        match self.action {
            Some(cli::Action::Pause) => Action::Pause,
            Some(cli::Action::Promote) => Action::Promote,
            Some(cli::Action::Shutdown) => Action::Shutdown,
            None if by_a_person && self.request.target != Target::Latest => Action::Pause,
            None => Action::Promote,
        }
    }
}

/// A moment: with its zone, or so long before `now`.
fn time(text: &str, now: Timestamp) -> Result<Timestamp, ConfigError> {
    const PLACE: &str = "--to-time";
    let text = text.trim();
    if let Ok(time) = text.parse() {
        return Ok(time);
    }
    if let Some(ago) = text.strip_suffix("ago") {
        let age = humantime::parse_duration(ago.trim()).ok();
        let time = age.and_then(|age| now.checked_sub(age).ok());
        return time.ok_or_else(|| {
            let problem = format!("\"{text}\" is no age (expected one such as 10 minutes ago)");
            usage(PLACE, problem)
        });
    }
    let Ok(reading) = text.parse::<DateTime>() else {
        let problem = format!(
            "\"{text}\" is no time (expected one such as 2026-11-20T14:30:00Z, 2026-11-20 \
             14:30:00+00, or 10 minutes ago)"
        );
        return Err(usage(PLACE, problem));
    };
    let local = reading.to_zoned(TimeZone::system());
    let local = local.map(|local| local.strftime("%Y-%m-%dT%H:%M:%S%.f%:z").to_string());
    let problem = format!(
        "\"{text}\" does not say in which zone: {}Z if that is UTC, {} if it is this host's time",
        reading,
        local.unwrap_or_default()
    );
    Err(usage(PLACE, problem))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_moments_or_refused_with_both_readings() {
        let now: Timestamp = "2026-11-20T15:00:00Z".parse().unwrap();
        for (text, expected) in [
            ("2026-11-20T14:30:00Z", "2026-11-20T14:30:00Z"),
            ("2026-11-20 14:30:00+00", "2026-11-20T14:30:00Z"),
            ("2026-11-20 14:30:00.25+01:30", "2026-11-20T13:00:00.25Z"),
            ("10 minutes ago", "2026-11-20T14:50:00Z"),
            ("1h 30m ago", "2026-11-20T13:30:00Z"),
        ] {
            assert_eq!(time(text, now).unwrap().to_string(), expected, "{text}");
        }
        for text in [
            "",
            "ago",
            "yesterday",
            "-5 minutes ago",
            "2026-13-01T00:00:00Z",
        ] {
            assert!(time(text, now).is_err(), "{text}");
        }
        let refused = time("2026-11-20 14:30:00", now).unwrap_err().to_string();
        assert!(
            refused.contains("2026-11-20T14:30:00Z if that is UTC"),
            "{refused}"
        );
        assert!(refused.contains("if it is this host's time"), "{refused}");
    }
}
