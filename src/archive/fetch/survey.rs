//! Asking the stores: the fastest first, the next one as soon as one says no,
//! fails, or keeps silent for a second, and those in passing trouble again and
//! again to a deadline.

use std::{
    sync::atomic::{AtomicU64, Ordering},
    time::{Duration, Instant},
};

use futures_util::{StreamExt, stream::FuturesUnordered};

use super::{
    FetchError,
    answer::{Answer, Not, Source, Testimony, Trouble},
};
use crate::{
    archive::place::Place,
    store::{StoreError, StoreName},
};

/// A silence of so long, and the next store is asked as well: a dead one must
/// not cost its connection's timeouts.
const STAGGER: Duration = Duration::from_secs(1);
/// How often the silence is measured.
const TICK: Duration = Duration::from_millis(50);
/// At the deadline a transfer that goes on is let finish; not one that has
/// been silent for so long.
const LAST_WORD: Duration = Duration::from_secs(3);
/// How often a store's trouble is reported.
const REPEAT: Duration = Duration::from_secs(30);
/// Pauses between two rounds: the longest of the first, and of any.
const PAUSES: (Duration, Duration) = (Duration::from_millis(500), Duration::from_secs(10));

/// A store that is to be asked, or why it cannot be.
#[derive(Debug)]
pub struct Candidate {
    /// Its name in the configuration.
    pub name: StoreName,
    /// The store, or what kept it from being opened.
    pub place: Result<Place, StoreError>,
}

/// How long stores in trouble are asked again.
#[derive(Debug, Clone, Copy)]
pub(super) struct Patience {
    pub(super) begun: Instant,
    pub(super) until: Instant,
    /// Whether to say on stderr what is waited for.
    pub(super) aloud: bool,
}

impl Patience {
    pub(super) fn of(time: Duration) -> Self {
        let begun = Instant::now();
        Patience {
            begun,
            until: begun + time,
            aloud: true,
        }
    }

    /// Each store is asked once, without a word.
    pub(super) fn once() -> Self {
        Patience {
            aloud: false,
            ..Patience::of(Duration::ZERO)
        }
    }

    fn is_over(&self) -> bool {
        Instant::now() >= self.until
    }
}

/// When a store was last heard of, and how much came from it.
#[derive(Debug)]
pub(super) struct Heard {
    base: Instant,
    /// Milliseconds after `base`.
    at: AtomicU64,
    bytes: AtomicU64,
}

impl Heard {
    pub(super) fn new() -> Self {
        Heard {
            base: Instant::now(),
            at: AtomicU64::new(0),
            bytes: AtomicU64::new(0),
        }
    }

    /// Something came.
    pub(super) fn note(&self, bytes: usize) {
        let at = self.base.elapsed().as_millis() as u64;
        self.at.store(at, Ordering::Relaxed);
        self.bytes.fetch_add(bytes as u64, Ordering::Relaxed);
    }

    /// How many bytes came altogether.
    pub(super) fn bytes(&self) -> u64 {
        self.bytes.load(Ordering::Relaxed)
    }

    fn silence(&self) -> Duration {
        let at = Duration::from_millis(self.at.load(Ordering::Relaxed));
        self.base.elapsed().saturating_sub(at)
    }
}

/// What the stores said.
#[derive(Debug)]
pub(super) struct Survey<T> {
    /// What was asked for, and the index of the store that gave it.
    pub(super) found: Option<(usize, T)>,
    /// What each of the others said; `None` of those that were not asked.
    pub(super) nots: Vec<Option<Not>>,
    /// How long the answer of the one that gave it took, and how much came.
    pub(super) took: (Duration, u64),
    /// Those that had been asked before and were silent when it came.
    pub(super) silent: Vec<usize>,
}

impl<T> Survey<T> {
    /// The answers of those that did not give it, by name.
    pub(super) fn testimony(&self, stores: &[Candidate]) -> Vec<Testimony> {
        let said = stores.iter().zip(&self.nots);
        said.filter_map(|(store, not)| {
            Some(Testimony {
                source: Source::Store(store.name.clone()),
                said: not.clone()?,
            })
        })
        .collect()
    }
}

/// Asks the `stores` in this `order` until one has it, or none has it, or all
/// patience is gone. Fails only by what is wrong on this host.
pub(super) async fn survey<T>(
    stores: &[Candidate],
    order: &[usize],
    patience: &Patience,
    ask: impl AsyncFn(&Place, &Heard) -> Result<Answer<T>, FetchError>,
) -> Result<Survey<T>, FetchError> {
    let mut survey = Survey {
        found: None,
        nots: vec![None; stores.len()],
        took: (Duration::ZERO, 0),
        silent: Vec::new(),
    };
    let mut said: Vec<Option<Instant>> = vec![None; stores.len()];
    let mut longest = PAUSES.0;
    loop {
        let open = |index: &usize| match &survey.nots[*index] {
            None => true,
            Some(Not::Unable(trouble)) => trouble.passing,
            Some(_) => false,
        };
        let round: Vec<usize> = order.iter().copied().filter(open).collect();
        ask_once(stores, round, patience, &ask, &mut survey).await?;
        if survey.found.is_some() {
            return Ok(survey);
        }
        let mut passing = false;
        for (index, not) in survey.nots.iter().enumerate() {
            let Some(Not::Unable(trouble)) = not else {
                continue;
            };
            passing |= trouble.passing;
            if patience.aloud && said[index].is_none_or(|at| at.elapsed() >= REPEAT) {
                complain(trouble, patience, said[index].is_some());
                said[index] = Some(Instant::now());
            }
        }
        if !passing || patience.is_over() {
            return Ok(survey);
        }
        // Many hosts that lost a store together must not come back together.
        let pause = longest.mul_f64(0.5 + fastrand::f64() / 2.0);
        let left = patience.until.saturating_duration_since(Instant::now());
        tokio::time::sleep(pause.min(left)).await;
        longest = (longest * 2).min(PAUSES.1);
    }
}

fn complain(trouble: &Trouble, patience: &Patience, again: bool) {
    let still = if again { "still: " } else { "" };
    let left = patience.until.saturating_duration_since(Instant::now());
    let waited = patience.begun.elapsed().as_secs();
    if trouble.passing && !left.is_zero() {
        let left = left.as_secs_f64().ceil();
        tracing::warn!(
            "{still}{} ({waited} s gone, asking for {left} s more)",
            trouble.text
        );
    } else {
        tracing::warn!("{still}{}", trouble.text);
    }
}

/// Asks each of `round` once, at the most.
async fn ask_once<T>(
    stores: &[Candidate],
    round: Vec<usize>,
    patience: &Patience,
    ask: &impl AsyncFn(&Place, &Heard) -> Result<Answer<T>, FetchError>,
    survey: &mut Survey<T>,
) -> Result<(), FetchError> {
    // Filled as they are asked; made before, since what runs borrows them.
    let heard: Vec<std::sync::OnceLock<Heard>> =
        stores.iter().map(|_| Default::default()).collect();
    let start = |index: usize| {
        let heard = heard[index].get_or_init(Heard::new);
        async move {
            let answer = match &stores[index].place {
                Ok(place) => ask(place, heard).await,
                Err(error) => Ok(Answer::Not(error.clone().into())),
            };
            (index, answer)
        }
    };
    let mut waiting = round.into_iter();
    let mut running = FuturesUnordered::new();
    let mut busy: Vec<usize> = Vec::new();
    loop {
        let silence = busy.iter().filter_map(|&index| heard[index].get());
        let silence = silence.map(Heard::silence).min();
        if silence.is_none_or(|silence| silence >= STAGGER)
            && let Some(index) = waiting.next()
        {
            busy.push(index);
            running.push(start(index));
            continue;
        }
        let Some(silence) = silence else {
            return Ok(());
        };
        if patience.is_over() && silence >= LAST_WORD {
            for index in busy {
                survey.nots[index] = Some(silent(&stores[index].name, silence));
            }
            return Ok(());
        }
        tokio::select! {
            Some((index, answer)) = running.next() => {
                busy.retain(|&other| other != index);
                match answer? {
                    Answer::Has(what) => {
                        let of = |index: usize| heard[index].get();
                        let is_silent = |other: &usize| {
                            of(*other).is_some_and(|heard| heard.silence() >= STAGGER)
                        };
                        survey.silent = busy.into_iter().filter(is_silent).collect();
                        survey.took = of(index).map_or((Duration::ZERO, 0), |heard| {
                            (heard.base.elapsed(), heard.bytes())
                        });
                        survey.found = Some((index, what));
                        survey.nots[index] = None;
                        return Ok(());
                    }
                    Answer::Not(not) => {
                        survey.nots[index] = Some(not);
                        if let Some(next) = waiting.next() {
                            busy.push(next);
                            running.push(start(next));
                        }
                    }
                }
            }
            () = tokio::time::sleep(TICK) => {}
        }
    }
}

fn silent(store: &StoreName, silence: Duration) -> Not {
    Not::Unable(Trouble {
        text: format!(
            "store \"{store}\": no answer in time (silent for {} s); check the endpoint and this \
             host's network",
            silence.as_secs()
        ),
        passing: true,
    })
}

#[cfg(test)]
mod tests {
    use std::{cell::RefCell, path::Path};

    use super::*;
    use crate::{
        layout::Layout,
        store::{Location, RetryPolicy, Store},
    };

    fn stores(directory: &Path, names: &[&str]) -> Vec<Candidate> {
        let open = |name: &&str| {
            let name: StoreName = name.parse().unwrap();
            let location = Location::Directory(directory.to_owned());
            let store = Store::open(name.clone(), location, RetryPolicy::ONCE).unwrap();
            let layout = Layout::new(&"main".parse().unwrap());
            Candidate {
                name,
                place: Ok(Place { store, layout }),
            }
        };
        names.iter().map(open).collect()
    }

    fn trouble(passing: bool) -> Answer<u8> {
        Answer::Not(Not::Unable(Trouble {
            text: "trouble".to_owned(),
            passing,
        }))
    }

    fn patience(seconds: u64) -> Patience {
        Patience {
            aloud: false,
            ..Patience::of(Duration::from_secs(seconds))
        }
    }

    #[tokio::test]
    async fn a_silent_store_costs_a_second_and_no_more() {
        let directory = tempfile::tempdir().unwrap();
        let stores = stores(directory.path(), &["dead", "slow", "never"]);
        let asked = RefCell::new(Vec::new());
        let begun = Instant::now();
        let ask = async |place: &Place, heard: &Heard| {
            asked.borrow_mut().push(place.name().to_string());
            if place.name().as_str() == "dead" {
                std::future::pending::<()>().await;
            }
            // Slow, but it comes: nobody else is asked meanwhile.
            for _ in 0..8 {
                tokio::time::sleep(Duration::from_millis(200)).await;
                heard.note(100);
            }
            Ok(Answer::Has(7))
        };
        let survey = survey(&stores, &[0, 1, 2], &patience(60), ask).await;
        let survey = survey.unwrap();
        assert_eq!(survey.found, Some((1, 7)));
        assert_eq!((survey.took.1, &survey.silent[..]), (800, &[0][..]));
        assert!(survey.nots.iter().all(Option::is_none));
        assert_eq!(*asked.borrow(), ["dead", "slow"]);
        assert!(begun.elapsed() < Duration::from_secs(4));
    }

    #[tokio::test]
    async fn only_passing_trouble_is_worth_asking_again() {
        let directory = tempfile::tempdir().unwrap();
        let stores = stores(directory.path(), &["down", "locked", "empty"]);
        let asked = RefCell::new(Vec::new());
        let ask = async |place: &Place, _: &Heard| {
            asked.borrow_mut().push(place.name().to_string());
            let times = asked.borrow().len();
            Ok(match place.name().as_str() {
                "down" if times > 5 => Answer::Has(7),
                "down" => trouble(true),
                "locked" => trouble(false),
                _ => Answer::Not(Not::Absent { later: None }),
            })
        };
        let survey = survey(&stores, &[2, 1, 0], &patience(60), ask).await;
        assert_eq!(survey.unwrap().found, Some((0, 7)));
        let asked = asked.into_inner();
        assert_eq!(asked[..3], ["empty", "locked", "down"]);
        assert_eq!(asked[3..], ["down", "down", "down"]);
    }

    #[tokio::test]
    async fn patience_ends() {
        let directory = tempfile::tempdir().unwrap();
        let stores = stores(directory.path(), &["down", "dead"]);
        let begun = Instant::now();
        let ask = async |place: &Place, _: &Heard| {
            if place.name().as_str() == "dead" {
                std::future::pending::<()>().await;
            }
            Ok(trouble(true))
        };
        let survey = survey(&stores, &[0, 1], &patience(1), ask).await.unwrap();
        assert!(survey.found.is_none());
        let testimony = survey.testimony(&stores);
        assert_eq!(testimony.len(), 2);
        for one in testimony {
            assert!(matches!(one.said, Not::Unable(_)), "{one:?}");
        }
        assert!((1..6).contains(&begun.elapsed().as_secs()));
    }
}
