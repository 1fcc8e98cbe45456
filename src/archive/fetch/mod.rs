//! `restore_command`: one file back, from staging, from what was fetched
//! ahead, or from the stores.
//!
//! PostgreSQL reads an exit code of 1 to 125 as "no such file": recovery ends
//! there, and the server promotes. So the answer [`Fetched::Absent`] is given
//! where the file is *proved* absent and nowhere else; all that is not known is
//! an error.

mod answer;
mod bench;
mod error;
mod generation;
mod here;
mod known;
mod object;
mod prefetch;
mod recovery;
mod speed;
mod spool;
mod survey;
mod suspects;
mod talk;
mod verdict;

use std::{
    io::{self, Read, Write},
    path::Path,
    time::Duration,
};

pub use answer::Source;
pub use error::FetchError;
pub use prefetch::{Prefetching, prefetch};
pub use recovery::Recovery;
pub use suspects::record;

use crate::{
    archive::{place::Place, plan::FetchPlan},
    config::Config,
    fs::Temporary,
    layout::Generation,
    postgres::{SegmentName, SegmentSize, WalFileName},
    store::StoreName,
};
use answer::{Not, Testimony};
use bench::Bench;
use error::{all_of, reasons};
use here::Staged;
use object::{Proof, Wanted, receive};
use speed::Speeds;
use spool::Spool;
use survey::{Candidate, Heard, Patience, Survey, survey};
use verdict::{Verdict, judge};

/// A standby asks again by itself, and does something else meanwhile: it gets
/// its answer after so long.
const STANDBY_PATIENCE: Duration = Duration::from_secs(10);

/// How a fetch that got an answer ended.
#[derive(Debug)]
pub enum Fetched {
    /// The destination holds exactly the file's bytes.
    Placed {
        /// Where they came from.
        source: Source,
        /// Copies that were found damaged on the way.
        suspects: Vec<Suspect>,
    },
    /// The file is proved absent: recovery ends here, as it should.
    Absent {
        /// Who said so.
        asked: String,
    },
    /// To a standby alone, which asks again: why it is not there now.
    NotNow {
        /// What a recovery would have failed with.
        reason: FetchError,
    },
}

/// A copy in a store that is not what was stored there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Suspect {
    /// The store.
    pub store: StoreName,
    /// Which generation of the archive it is in.
    pub generation: Generation,
    /// The file.
    pub name: WalFileName,
    /// Its key in the store, and what is wrong with it.
    pub reason: String,
}

/// What was fetched ahead for a recovery, and is of no use once that is over.
#[derive(Debug)]
pub struct Ahead(Option<Spool>);

impl Ahead {
    /// For the recovery by `plan` in this data directory, which is still there.
    pub fn of(config: &Config, directory: &Path, plan: &FetchPlan) -> Self {
        // As PostgreSQL's working directory is called.
        let directory = directory.canonicalize();
        let known = Some(plan.system_identifier);
        let spool = directory.and_then(|it| Spool::open(config, &it, known, Some(plan)));
        Ahead(spool.ok())
    }

    /// Removes it. Its prefetcher ends by that; one that has only just begun
    /// finds that the data directory is gone, and does the same.
    pub fn forget(self) {
        if let Some(spool) = self.0 {
            spool.remove();
        }
    }
}

/// One file that PostgreSQL wants, and where it wants it.
#[derive(Debug, Clone, Copy)]
pub struct Request<'a> {
    /// Its name, `%f`.
    pub name: WalFileName,
    /// Where to put it, `%p`.
    pub to: &'a Path,
}

impl Recovery {
    /// Fetches the file from this host, if it is here: staging, spool. The
    /// usual way of a recovery; a few milliseconds. Where the prefetcher has it
    /// half, waits for it. `None`: ask the stores.
    pub fn fetch_local(&self, request: Request) -> Result<Option<Fetched>, FetchError> {
        let Request { name, to } = request;
        if self.has_placed(name) {
            return Ok(Some(in_pg_wal()));
        }
        let mut here = self.fetch_here(name, to)?;
        if let (Err(_), WalFileName::Segment(segment), Some(spool)) = (&here, name, &self.spool)
            && talk::wait_for(spool, segment)
        {
            here = self.fetch_here(name, to)?;
        }
        Ok(here.ok().map(|source| Fetched::Placed {
            source,
            suspects: Vec::new(),
        }))
    }

    /// Puts the file in place whose bytes come from somebody who has verified
    /// them: `size` of them. Returns whether they came whole, and are the file's
    /// by their header.
    pub fn place_from(
        &self,
        bytes: impl Read,
        size: u64,
        request: Request,
    ) -> Result<bool, FetchError> {
        let Request { name, to } = request;
        let failed = |source| FetchError::Place {
            path: to.to_owned(),
            source,
        };
        let mut temporary = Temporary::beside(to).map_err(failed)?;
        let mut bytes = bytes.take(size);
        let mut buffer = vec![0; 256 << 10];
        let mut received = 0;
        loop {
            match bytes.read(&mut buffer) {
                Ok(0) => break,
                Ok(read) => {
                    let written = temporary.file().write_all(&buffer[..read]);
                    written.map_err(failed)?;
                    received += read as u64;
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(_) => return Ok(false),
            }
        }
        if received != size || here::check(temporary.file(), name, &self.known).is_err() {
            return Ok(false);
        }
        place(temporary, to)?;
        Ok(true)
    }

    /// Has the segments fetched ahead that follow `name`, which is in place
    /// now. Returns whether a prefetcher has to be started for that.
    pub fn go_on(&self, config: &Config, name: SegmentName) -> bool {
        let Some(spool) = &self.spool else {
            return false;
        };
        let wanted = config.fetch.prefetch > 0 && !self.ahead(name, 1).is_empty();
        wanted && !talk::tell(spool, name) && !spool.is_locked()
    }

    /// Fetches the file from wherever it is. Inside a tokio runtime.
    pub async fn fetch(
        &mut self,
        config: &Config,
        request: Request<'_>,
    ) -> Result<Fetched, FetchError> {
        if self.has_placed(request.name) {
            return Ok(in_pg_wal());
        }
        let time = config.fetch.timeout;
        let time = if self.standby {
            time.min(STANDBY_PATIENCE)
        } else {
            time
        };
        match self.fetch_anywhere(config, request, time).await {
            Err(
                reason @ (FetchError::Unknown { .. }
                | FetchError::Unidentified(_)
                | FetchError::Hole { .. }
                | FetchError::Gap { .. }),
            ) if self.standby => Ok(Fetched::NotNow { reason }),
            done => done,
        }
    }

    async fn fetch_anywhere(
        &mut self,
        config: &Config,
        Request { name, to }: Request<'_>,
        time: Duration,
    ) -> Result<Fetched, FetchError> {
        // First: what ship takes out of staging meanwhile is in the stores by
        // then.
        let staged = match self.fetch_here(name, to)? {
            Ok(source) => {
                let suspects = Vec::new();
                return Ok(Fetched::Placed { source, suspects });
            }
            Err(staged) => staged,
        };
        if let Some(Not::Damaged { reason }) = staged.as_ref().map(|one| &one.said) {
            tracing::warn!("staging: {reason}; asking the stores");
        }
        let stores = self.candidates(config)?;
        let mut survey = self.ask(&stores, name, to, &Patience::of(time)).await?;
        let mut testimony: Vec<Testimony> = staged.into_iter().collect();
        testimony.extend(survey.testimony(&stores));
        if let Some((index, file)) = survey.found.take() {
            place(file, to)?;
            self.learn_size(name, to);
            return Ok(Fetched::Placed {
                source: Source::Store(stores[index].name.clone()),
                suspects: self.suspects(&stores, name, &survey),
            });
        }
        let asked = all_of(&testimony);
        match judge(self.needs(name), &testimony) {
            Verdict::Absent => Ok(Fetched::Absent { asked }),
            Verdict::Hole => Err(FetchError::Hole { name, asked }),
            Verdict::Gap { later, source } => Err(FetchError::Gap {
                name,
                asked,
                later,
                source_of_later: source,
            }),
            Verdict::Damaged => Err(FetchError::Damaged {
                name,
                reasons: reasons(&testimony),
                suspects: self.suspects(&stores, name, &survey),
            }),
            Verdict::Unknown => Err(FetchError::Unknown {
                name,
                reasons: reasons(&testimony),
            }),
        }
    }

    /// Asks the stores, the fastest first, and remembers what that taught.
    async fn ask(
        &mut self,
        stores: &[Candidate],
        name: WalFileName,
        to: &Path,
        patience: &Patience,
    ) -> Result<Survey<Temporary>, FetchError> {
        let order = self.speeds().order(stores);
        let is_new = self.known.generation.is_none();
        if is_new && name.holds_pages() {
            let guessed = generation::guess(&mut self.known, stores, &order).await?;
            if let (Some(guessed), None) = (guessed, self.known.generation) {
                let once = Patience::once();
                let survey = self.ask_in(guessed, stores, name, to, &once).await?;
                if survey.found.is_some() {
                    return Ok(survey);
                }
            }
        }
        if self.known.generation.is_none() {
            generation::identify(&mut self.known, stores, &order, patience).await?;
        }
        if let (true, Some(spool)) = (is_new, &self.spool) {
            spool.keep_known(&self.known);
        }
        self.ask_in(self.generation(), stores, name, to, patience)
            .await
    }

    async fn ask_in(
        &self,
        generation: Generation,
        stores: &[Candidate],
        name: WalFileName,
        to: &Path,
        patience: &Patience,
    ) -> Result<Survey<Temporary>, FetchError> {
        let mut speeds = self.speeds();
        let wanted = Wanted {
            generation,
            ..self.wanted(name)
        };
        let bench = Bench::new(stores.len(), self.format);
        let ask = async |place: &Place, heard: &Heard| {
            receive(place, &wanted, to, &bench, &[heard]).await
        };
        let survey = survey(stores, &speeds.order(stores), patience, ask).await?;
        if let Some(spool) = &self.spool {
            speeds.learn(stores, &survey);
            spool.keep_speeds(&speeds);
        }
        Ok(survey)
    }

    fn speeds(&self) -> Speeds {
        let spool = self.spool.as_ref();
        spool.map(Spool::speeds).unwrap_or_default()
    }

    fn generation(&self) -> Generation {
        self.known.generation.unwrap_or(Generation::FIRST)
    }

    /// An archive without `cluster.json` tells the size of its segments by
    /// them.
    fn learn_size(&mut self, name: WalFileName, placed: &Path) {
        if self.known.segment_size.is_none()
            && let (WalFileName::Segment(_), Ok(placed)) = (name, std::fs::metadata(placed))
        {
            self.known.segment_size = SegmentSize::new(placed.len()).ok();
            if let Some(spool) = &self.spool {
                spool.keep_known(&self.known);
            }
        }
    }

    fn wanted(&self, name: WalFileName) -> Wanted {
        Wanted {
            name,
            generation: self.generation(),
            known: self.known,
            look_behind: self.looks_behind(name),
            // Whoever made staging claimed every store as well.
            proof: match self.staged {
                Staged::Open(_) => Proof::Claimed,
                Staged::NotAsked | Staged::Unable(_) => Proof::Archive,
            },
        }
    }

    fn suspects<T>(
        &self,
        stores: &[Candidate],
        name: WalFileName,
        survey: &Survey<T>,
    ) -> Vec<Suspect> {
        let generation = self.generation();
        let damaged = stores.iter().zip(&survey.nots);
        let suspect = |(store, not): (&Candidate, &Option<Not>)| match not {
            Some(Not::Damaged { reason }) => Some(Suspect {
                store: store.name.clone(),
                generation,
                name,
                reason: reason.clone(),
            }),
            _ => None,
        };
        damaged.filter_map(suspect).collect()
    }
}

/// What `restore` put into `pg_wal` ends the archive for this recovery, though
/// somebody may have archived the whole segment since: the plan that was shown
/// holds.
fn in_pg_wal() -> Fetched {
    Fetched::Absent {
        asked: "the plan, by which what was streamed of it is in pg_wal".to_owned(),
    }
}

fn place(file: Temporary, to: &Path) -> Result<(), FetchError> {
    file.place(to).map_err(|source| FetchError::Place {
        path: to.to_owned(),
        source,
    })
}
