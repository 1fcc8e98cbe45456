//! The prefetcher: one process for each data directory, which keeps the spool
//! filled with the segments that PostgreSQL will ask for next. Nothing depends
//! on it: whatever it lacks, a fetch gets itself.

use std::{
    cell::RefCell,
    collections::{BTreeMap, BTreeSet},
    fs::File,
    io,
    path::Path,
    rc::Rc,
    time::{Duration, Instant},
};

use futures_util::{StreamExt, stream::FuturesUnordered};
use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader},
    net::{UnixListener, UnixStream},
    sync::watch,
};

use super::{
    FetchError, Recovery, Suspect,
    answer::Not,
    bench::Bench,
    object::{Proof, Wanted, receive},
    spool::Spool,
    survey::{Candidate, Heard, Patience, Survey, survey},
    talk::{self, Word},
};
use crate::{archive::place::Place, config::Config, fs::Temporary, postgres::SegmentName};

/// Segments at once. More would not be faster: unpacking and hashing take both
/// cores by then.
const AT_ONCE: usize = 3;
/// How often it is looked whether there is still something to do.
const TICK: Duration = Duration::from_secs(1);
/// After trouble (a store, the disk), nothing is begun for so long.
const REST: Duration = Duration::from_secs(1);
/// Longer than any line of a fetch, in bytes.
const LONGEST_LINE: u64 = 64;

/// How the prefetcher does its work.
pub struct Prefetching<'a> {
    /// The configuration.
    pub config: &'a Config,
    /// The data directory. With it goes what was fetched for it.
    pub directory: &'a Path,
    /// The segment that was fetched last.
    pub after: SegmentName,
    /// Ends when no fetch has come for so long.
    pub idle: Duration,
    /// Told of damaged copies.
    pub on_suspects: &'a dyn Fn(&[Suspect]),
}

/// Fetches ahead until nobody fetches any more. Returns at once where another
/// prefetcher runs, or nothing can be fetched ahead. Inside a tokio runtime.
pub async fn prefetch(recovery: &Recovery, how: Prefetching<'_>) -> Result<(), FetchError> {
    let Some(spool) = &recovery.spool else {
        return Ok(());
    };
    if recovery.known.generation.is_none() || how.config.fetch.prefetch == 0 {
        return Ok(());
    }
    let stores = recovery.candidates(how.config)?;
    let begun = || -> io::Result<Option<(File, UnixListener)>> {
        let Some(lock) = spool.lock()? else {
            return Ok(None);
        };
        spool.sweep()?;
        let directory = File::open(spool.root())?;
        let _ = std::fs::remove_file(spool.root().join(talk::SOCKET));
        Ok(Some((
            lock,
            UnixListener::bind(talk::socket_in(&directory))?,
        )))
    };
    let begun = begun().map_err(|source| FetchError::Place {
        path: spool.root().to_owned(),
        source,
    })?;
    let Some((lock, listener)) = begun else {
        return Ok(());
    };
    let prefetcher = Prefetcher {
        recovery,
        spool,
        stores,
        bench: Bench::new(AT_ONCE, recovery.format),
        state: RefCell::new(State::new(how.after)),
        how,
    };
    prefetcher.work(&lock, listener).await;
    prefetcher.clear();
    if !prefetcher.how.directory.exists() {
        spool.remove();
    }
    Ok(())
}

struct Prefetcher<'a> {
    recovery: &'a Recovery,
    spool: &'a Spool,
    stores: Vec<Candidate>,
    bench: Bench,
    state: RefCell<State>,
    how: Prefetching<'a>,
}

/// Never borrowed over an await.
struct State {
    /// Where PostgreSQL is.
    after: SegmentName,
    /// Whether the spool holds nothing that is behind it.
    tidy: bool,
    /// What is on its way.
    loading: BTreeMap<SegmentName, Loading>,
    /// What a fetch gets itself.
    claimed: BTreeSet<SegmentName>,
    /// What the stores lack; forgotten with the next fetch, and what follows
    /// is not asked for.
    missing: Option<SegmentName>,
    rest_until: Instant,
    last_word: Instant,
}

/// What a fetch's word led to.
enum Heeded {
    Noted,
    Answered(&'static str),
    Loading(Loading),
}

#[derive(Clone)]
struct Loading {
    heard: Rc<Heard>,
    /// Whether it is in the spool, once that is settled.
    done: watch::Receiver<Option<bool>>,
}

impl State {
    fn new(after: SegmentName) -> Self {
        let now = Instant::now();
        State {
            after,
            tidy: false,
            loading: BTreeMap::new(),
            claimed: BTreeSet::new(),
            missing: None,
            rest_until: now,
            last_word: now,
        }
    }
}

impl Prefetcher<'_> {
    async fn work(&self, lock: &File, listener: UnixListener) {
        let mut loads = FuturesUnordered::new();
        let mut talks = FuturesUnordered::new();
        loop {
            while let Some((name, loading, done)) = self.next() {
                loads.push(self.load(name, loading, done));
            }
            tokio::select! {
                Ok((stream, _)) = listener.accept() => talks.push(self.talk(stream)),
                Some(()) = talks.next() => {}
                Some(()) = loads.next() => {}
                () = tokio::time::sleep(TICK) => {
                    let silence = self.state.borrow().last_word.elapsed();
                    let is_idle = silence >= self.how.idle;
                    let is_over = !self.spool.is_locked_by(lock) || !self.how.directory.exists();
                    if is_idle || is_over {
                        return;
                    }
                    if loads.is_empty() {
                        self.bench.rest();
                    }
                }
            }
        }
    }

    /// What is to be loaded now, if there is room for more.
    fn next(&self) -> Option<(SegmentName, Rc<Heard>, watch::Sender<Option<bool>>)> {
        let mut state = self.state.borrow_mut();
        let ahead = self.ahead_of(state.after);
        if !state.tidy {
            self.tidy(&ahead);
            state.tidy = true;
        }
        if state.loading.len() >= AT_ONCE || state.rest_until > Instant::now() {
            return None;
        }
        let name = ahead
            .into_iter()
            .take_while(|name| state.missing != Some(*name))
            .find(|name| {
                !state.loading.contains_key(name)
                    && !state.claimed.contains(name)
                    && !self.spool.path(*name).exists()
                    && !self.recovery.staged.holds(*name)
            })?;
        let heard = Rc::new(Heard::new());
        let (sender, done) = watch::channel(None);
        let loading = Loading {
            heard: Rc::clone(&heard),
            done,
        };
        state.loading.insert(name, loading);
        Some((name, heard, sender))
    }

    /// What PostgreSQL will ask for behind `after`, as far as the spool goes.
    fn ahead_of(&self, after: SegmentName) -> Vec<SegmentName> {
        let most = self.how.config.fetch.prefetch;
        self.recovery.ahead(after, most)
    }

    /// Removes what PostgreSQL will not ask for.
    fn tidy(&self, ahead: &[SegmentName]) {
        for name in self.spool.segments().unwrap_or_default() {
            if !ahead.contains(&name) {
                let _ = std::fs::remove_file(self.spool.path(name));
            }
        }
    }

    async fn load(&self, name: SegmentName, heard: Rc<Heard>, done: watch::Sender<Option<bool>>) {
        let loaded = self.receive(name, &heard).await;
        let mut state = self.state.borrow_mut();
        state.loading.remove(&name);
        let ready = match loaded {
            Ok(survey) => {
                let suspects = self.recovery.suspects(&self.stores, name.into(), &survey);
                if !suspects.is_empty() {
                    (self.how.on_suspects)(&suspects);
                }
                let unable = |not: &Option<Not>| matches!(not, Some(Not::Unable(_)));
                match survey.found {
                    // Too late: a fetch has got it itself. What stands in the
                    // spool is never more than what is ahead.
                    Some(_) if !self.ahead_of(state.after).contains(&name) => false,
                    Some((_, file)) => file.place(&self.spool.path(name)).is_ok(),
                    None if survey.nots.iter().any(unable) => {
                        state.rest_until = Instant::now() + REST;
                        false
                    }
                    None => {
                        state.missing = Some(name);
                        false
                    }
                }
            }
            Err(error) => {
                tracing::debug!("fetch \"{name}\" ahead: {error}");
                state.rest_until = Instant::now() + REST;
                false
            }
        };
        // PostgreSQL may have gone elsewhere meanwhile.
        state.tidy = false;
        done.send_replace(Some(ready));
    }

    async fn receive(
        &self,
        name: SegmentName,
        heard: &Heard,
    ) -> Result<Survey<Temporary>, FetchError> {
        let wanted = Wanted {
            look_behind: false,
            proof: Proof::NotAsked,
            ..self.recovery.wanted(name.into())
        };
        let to = self.spool.path(name);
        let ask = async |place: &Place, theirs: &Heard| {
            receive(place, &wanted, &to, &self.bench, &[theirs, heard]).await
        };
        let mut speeds = self.spool.speeds();
        let order = speeds.order(&self.stores);
        let survey = survey(&self.stores, &order, &Patience::once(), ask).await?;
        speeds.learn(&self.stores, &survey);
        self.spool.keep_speeds(&speeds);
        Ok(survey)
    }

    /// Answers one fetch. A broken connection is the fetch's business.
    async fn talk(&self, stream: UnixStream) {
        let (read, mut write) = stream.into_split();
        let mut line = String::new();
        let mut reader = BufReader::new(read.take(LONGEST_LINE));
        let heard = tokio::time::timeout(TICK, reader.read_line(&mut line)).await;
        let (Ok(Ok(_)), Ok(word)) = (heard, line.parse::<Word>()) else {
            return;
        };
        let mut loading = match self.hear(word) {
            Heeded::Noted => return,
            Heeded::Answered(answer) => {
                let _ = write.write_all(answer.as_bytes()).await;
                return;
            }
            Heeded::Loading(loading) => loading,
        };
        let mut bytes = 0;
        loop {
            let settled = loading.done.wait_for(Option::is_some);
            let answer = match tokio::time::timeout(talk::PROGRESS, settled).await {
                Ok(Ok(ready)) if *ready == Some(true) => talk::READY,
                Ok(_) => talk::NO,
                Err(_) if loading.heard.bytes() == bytes => continue,
                Err(_) => talk::LOADING,
            };
            bytes = loading.heard.bytes();
            let written = write.write_all(answer.as_bytes()).await;
            if written.is_err() || answer != talk::LOADING {
                return;
            }
        }
    }

    fn hear(&self, word: Word) -> Heeded {
        let mut state = self.state.borrow_mut();
        state.last_word = Instant::now();
        match word {
            Word::At(name) => {
                state.after = name;
                state.tidy = false;
                state.missing = None;
                state.rest_until = Instant::now();
                state.claimed.clear();
                Heeded::Noted
            }
            Word::Want(name) => match state.loading.get(&name) {
                Some(loading) => Heeded::Loading(loading.clone()),
                None if self.spool.path(name).exists() => Heeded::Answered(talk::READY),
                None => {
                    state.claimed.insert(name);
                    Heeded::Answered(talk::NO)
                }
            },
        }
    }

    /// What is in the spool is of no use any more.
    fn clear(&self) {
        self.tidy(&[]);
        let _ = std::fs::remove_file(self.spool.root().join(talk::SOCKET));
    }
}
