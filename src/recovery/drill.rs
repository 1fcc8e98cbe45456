//! A drill: is what the archive holds a cluster that comes back? Which store
//! is asked next, and what the recovered cluster has to answer.

use std::{
    path::PathBuf,
    time::{Duration, Instant},
};

use jiff::Timestamp;

use crate::{
    catalog::{DrillCheck, DrillRecord},
    postgres::session::{Session, SessionError},
};

/// The store that the next drill asks: of `stores`, the one whose last drill
/// is the longest ago; the first of those that never had one. A drill counts
/// whether it was good or not, so that a store that fails does not keep the
/// others from theirs.
pub fn next_store<'a>(stores: &[&'a str], drills: &[DrillRecord]) -> Option<&'a str> {
    let last = |store: &str| {
        let of_it = drills.iter().filter(|drill| drill.store == store);
        of_it
            .map(|drill| drill.begun)
            .max()
            .unwrap_or(Timestamp::MIN)
    };
    // Of equals the first.
    stores.iter().copied().min_by_key(|store| last(store))
}

/// What is checked.
#[derive(Debug, Clone, Default)]
pub struct Checks {
    /// SQL, each with an answer.
    pub sql: Vec<String>,
    /// A file of SQL, and what is in it.
    pub file: Option<(PathBuf, String)>,
    /// Whether relations are examined, where `amcheck` is at hand.
    pub amcheck: bool,
}

/// How the checks reach the recovered cluster.
pub struct Examining<'a> {
    /// A connection string for a user (none: the configured one) and a
    /// database (none: the configured one).
    pub connection: &'a (dyn Fn(Option<&str>, Option<&str>) -> String + Sync),
    /// When everything has to have ended.
    pub deadline: Instant,
    /// Told what is checked now.
    pub tell: &'a (dyn Fn(&str) + Sync),
}

/// Runs the checks, whatever the others come to.
pub fn examine(checks: &Checks, how: &Examining<'_>) -> Vec<DrillCheck> {
    let mut done = Vec::new();
    let mut texts: Vec<(String, &str)> = Vec::new();
    texts.extend(checks.sql.iter().map(|sql| (sql.clone(), sql.as_str())));
    if let Some((path, text)) = &checks.file {
        texts.push((path.display().to_string(), text));
    }
    let mut session = None;
    for (name, text) in texts {
        (how.tell)(&name);
        // One session for all, as long as it lives.
        let answer = match session.take().map_or_else(|| open(how, None, None), Ok) {
            Ok(mut open) => {
                let answer = open.answer_to(text);
                session = Some(open).filter(|_| answer.is_ok());
                answer
            }
            Err(error) => Err(error),
        };
        done.push(checked(name, answer));
    }
    drop(session);
    if checks.amcheck {
        done.extend(amcheck(how));
    }
    done
}

/// What is said of a boolean that is false, and of nothing else.
const FALSE: &str = "f";

fn checked(check: String, answer: Result<String, SessionError>) -> DrillCheck {
    let (ok, answer) = match answer {
        Ok(answer) => (answer != FALSE, answer),
        Err(error) => (false, error.to_string()),
    };
    DrillCheck { check, ok, answer }
}

/// Every database, as whoever may do everything.
fn amcheck(how: &Examining<'_>) -> Vec<DrillCheck> {
    let known = open(how, None, None)
        .and_then(|mut session| Ok((session.superuser()?, session.databases()?)));
    let (superuser, databases) = match known {
        Ok(known) => known,
        Err(error) => return vec![checked("amcheck".to_owned(), Err(error))],
    };
    let mut done = Vec::new();
    for database in databases {
        let check = format!("amcheck of database \"{database}\"");
        (how.tell)(&check);
        let examined = open(how, Some(&superuser), Some(&database))
            .and_then(|mut session| session.amcheck(&|| Instant::now() < how.deadline));
        match examined {
            Ok(None) => {
                tracing::info!("the extension amcheck is not installed on this host: left out");
                break;
            }
            Ok(Some(found)) if found.wrong.is_empty() => {
                let (indexes, tables) = (found.indexes, found.tables);
                let answer = format!("{indexes} indexes, {tables} tables");
                done.push(checked(check, Ok(answer)));
            }
            Ok(Some(found)) => done.push(DrillCheck {
                check,
                ok: false,
                answer: found.wrong.join("; "),
            }),
            Err(error) => done.push(checked(check, Err(error))),
        }
    }
    done
}

fn open(
    how: &Examining<'_>,
    user: Option<&str>,
    database: Option<&str>,
) -> Result<Session, SessionError> {
    let left = how.deadline.saturating_duration_since(Instant::now());
    let mut session = Session::connect(&(how.connection)(user, database))?;
    session.for_checks(left.max(Duration::from_millis(1)))?;
    Ok(session)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn drill(store: &str, second: i64, ok: bool) -> DrillRecord {
        let at = Timestamp::from_second(second).unwrap();
        DrillRecord {
            begun: at,
            ended: at,
            store: store.to_owned(),
            generation: None,
            backup: None,
            target: String::new(),
            last_commit: None,
            ok,
            rto_seconds: None,
            restore_seconds: None,
            bytes: 0,
            fetched_bytes: 0,
            error: None,
            checks: Vec::new(),
        }
    }

    #[test]
    fn stores_take_turns_though_one_fails() {
        let stores = ["r2", "b2"];
        let mut drills = Vec::new();
        let mut asked = Vec::new();
        for second in 0..5 {
            let store = next_store(&stores, &drills).unwrap();
            asked.push(store);
            drills.push(drill(store, second, store != "r2"));
        }
        assert_eq!(asked, ["r2", "b2", "r2", "b2", "r2"]);
        // A new one comes first.
        assert_eq!(next_store(&["r2", "nas", "b2"], &drills), Some("nas"));
        assert_eq!(next_store(&[], &drills), None);
    }
}
