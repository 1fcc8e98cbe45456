//! Which backup a recovery begins with.

use super::{
    Stop,
    answer::{Reason, Unfit},
    archive::{Archive, Backup},
    track::Track,
};

/// Whose backups are considered on the way to a timeline.
#[derive(Debug, Clone, Copy)]
pub(super) struct Choice<'a, 't> {
    pub(super) archive: &'a Archive,
    pub(super) track: &'t Track,
    /// The one that was asked for.
    pub(super) asked: Option<&'a str>,
    /// Whether it must be of the target timeline itself.
    pub(super) own: bool,
}

/// The backup that was chosen.
#[derive(Debug)]
pub(super) struct Chosen<'a> {
    pub(super) backup: &'a Backup,
    /// Those that ended later, and why it is none of them.
    pub(super) passed_over: Vec<(String, Unfit)>,
}

impl<'a> Choice<'a, '_> {
    /// The newest backup that leads to the target, of which `fits` knows
    /// whether it is early enough.
    pub(super) fn newest(
        &self,
        fits: impl Fn(&Backup) -> Result<(), Unfit>,
    ) -> Result<Chosen<'a>, Stop> {
        let backups = &self.archive.backups;
        if backups.is_empty() {
            return Err(Reason::NoBackups.into());
        }
        let serves = |backup: &Backup| self.leads_there(backup).and_then(|()| fits(backup));
        if let Some(id) = self.asked {
            let Some(backup) = backups.iter().find(|backup| backup.id == id) else {
                let known = backups.iter().map(|backup| backup.id.clone()).collect();
                let id = id.to_owned();
                return Err(Reason::UnknownBackup { id, known }.into());
            };
            if let Err(why) = serves(backup) {
                let id = id.to_owned();
                return Err(Reason::UnfitBackup { id, why }.into());
            }
            return Ok(self.chosen(backup, serves));
        }
        let fit = backups.iter().filter(|backup| serves(backup).is_ok());
        match fit.max_by_key(|backup| (backup.stop, &backup.id)) {
            Some(backup) => Ok(self.chosen(backup, serves)),
            None => Err(self.none(serves).into()),
        }
    }

    fn chosen(
        &self,
        backup: &'a Backup,
        serves: impl Fn(&Backup) -> Result<(), Unfit>,
    ) -> Chosen<'a> {
        let later = self.archive.backups.iter().filter(|other| {
            (other.stopped, &other.id) > (backup.stopped, &backup.id) && other.id != backup.id
        });
        let another = self.asked.map(|_| Unfit::NotAskedFor);
        let why = |other: &Backup| serves(other).err().or(another.clone());
        let mut passed_over: Vec<_> = later
            .filter_map(|other| Some((other.id.clone(), why(other)?)))
            .collect();
        passed_over.sort_by(|a, b| b.0.cmp(&a.0));
        Chosen {
            backup,
            passed_over,
        }
    }

    /// Why it is none of them.
    fn none(&self, serves: impl Fn(&Backup) -> Result<(), Unfit>) -> Reason {
        let leading = self.leading();
        let Some(earliest) = leading.iter().min_by_key(|backup| backup.stop) else {
            let backups = self.archive.backups.iter();
            let why = backups.filter_map(|it| Some((it.id.clone(), serves(it).err()?)));
            return Reason::NoFitBackup {
                timeline: self.track.timeline(),
                why: why.collect(),
            };
        };
        match serves(earliest) {
            Err(Unfit::XidTooOld(xid)) => Reason::XidTooOld { xid },
            Err(Unfit::NoXmax) => {
                let whys = leading.iter().map(|backup| serves(backup).err());
                let known = whys.flatten().find_map(|why| match why {
                    Unfit::XidTooOld(xid) => Some(Reason::XidTooOld { xid }),
                    _ => None,
                });
                known.unwrap_or_else(|| Reason::UnfitBackup {
                    id: earliest.id.clone(),
                    why: Unfit::NoXmax,
                })
            }
            Err(why @ Unfit::NameBefore(_)) => Reason::UnfitBackup {
                id: earliest.id.clone(),
                why,
            },
            _ => Reason::BeforeEarliest {
                id: earliest.id.clone(),
                stop: earliest.stop,
                stopped: earliest.stopped,
            },
        }
    }

    /// The backups that lead to the timeline, whatever the target on it.
    pub(super) fn leading(&self) -> Vec<&'a Backup> {
        let backups = self.archive.backups.iter();
        backups
            .filter(|backup| self.leads_there(backup).is_ok())
            .collect()
    }

    fn leads_there(&self, backup: &Backup) -> Result<(), Unfit> {
        let track = self.track;
        if backup.system_identifier != self.archive.system_identifier {
            return Err(Unfit::OtherCluster(backup.system_identifier));
        }
        if backup.holders.is_empty() {
            return Err(Unfit::Nowhere);
        }
        if self.own && backup.timeline != track.timeline() {
            return Err(Unfit::OtherTimeline(backup.timeline));
        }
        let wal = backup.start..backup.stop;
        if !track.ancestry.contains(backup.timeline, &wal) {
            return Err(Unfit::OffTheWay {
                timeline: track.timeline(),
                own: backup.timeline,
                stop: backup.stop,
            });
        }
        let (first, last) = self.archive.segment_size.numbers(&wal).into_inner();
        match track.reach(first) {
            Some(reach) if reach >= last && track.end_of(last) >= backup.stop => Ok(()),
            Some(reach) if reach >= last => Err(Unfit::WalMissing(track.name(last))),
            Some(reach) => Err(Unfit::WalMissing(track.name(reach + 1))),
            None => Err(Unfit::WalMissing(track.name(first))),
        }
    }
}
