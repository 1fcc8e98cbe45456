//! Finding times in segments while asking for as few of them as possible:
//! from a bare bucket each answer costs a request.

use jiff::Timestamp;

use super::{
    Stop,
    archive::{Commit, Known, Moments},
    track::Track,
};

/// Where a transaction's end that a search looked for is.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Found {
    /// In this segment, or in one before it.
    At(u64),
    /// Nowhere that is known; but what some segments hold is not.
    Perhaps,
    /// Nowhere. The latest end there is.
    No(Option<Timestamp>),
}

/// What going back came to.
struct Back<T> {
    value: Option<T>,
    /// Whether every segment on the way said all that it holds.
    certain: bool,
}

/// What is known of the segments along a track.
#[derive(Debug, Clone, Copy)]
pub(super) struct Lookup<'a> {
    pub(super) track: &'a Track,
    pub(super) known: &'a Known,
}

impl<'a> Lookup<'a> {
    /// What was said about segment `number`, once it has been asked for.
    fn said(&self, number: u64) -> Option<Option<&'a Moments>> {
        let said = self.known.get(&self.track.name(number))?;
        Some(said.as_ref())
    }

    /// The moments of segment `number`; `None` where nobody knows them.
    pub(super) fn of(&self, number: u64) -> Result<Option<&'a Moments>, Stop> {
        self.said(number)
            .ok_or_else(|| Stop::Need(vec![self.track.name(number)]))
    }

    /// The moments of all these segments.
    pub(super) fn all(
        &self,
        numbers: impl Iterator<Item = u64> + Clone,
    ) -> Result<Vec<Option<&'a Moments>>, Stop> {
        let open = numbers
            .clone()
            .filter(|&number| self.said(number).is_none());
        let open: Vec<_> = open.map(|number| self.track.name(number)).collect();
        if !open.is_empty() {
            return Err(Stop::Need(open));
        }
        numbers.map(|number| self.of(number)).collect()
    }

    /// The last commit in the segments from `first` to `last`; `None` where
    /// there is none, or a later segment's moments are not known.
    pub(super) fn last_commit(&self, first: u64, last: u64) -> Result<Option<Commit>, Stop> {
        let back = self.backwards(first, last, |moments| moments.last_commit)?;
        Ok(back.value)
    }

    /// The latest end of a transaction there, under the same conditions.
    pub(super) fn last_end(&self, first: u64, last: u64) -> Result<Option<Timestamp>, Stop> {
        let back = self.backwards(first, last, |moments| moments.ends.map(|ends| ends.1))?;
        Ok(back.value)
    }

    /// The first segment there in which the end of a transaction has a time
    /// that `passes`, as every later time does. Times rise with the WAL but for
    /// a little, so that the last end tells whether there is one; where a clock
    /// was set back, what is known already counts too.
    pub(super) fn first_end(
        &self,
        first: u64,
        last: u64,
        passes: impl Fn(Timestamp) -> bool,
    ) -> Result<Found, Stop> {
        let passing = |number: &u64| {
            let ends = self.said(*number).flatten().and_then(|it| it.ends);
            ends.is_some_and(|(_, latest)| passes(latest))
        };
        if let Some(number) = (first..=last).find(passing) {
            return self.bisect(first, number, passes).map(Found::At);
        }
        let end = |moments: &Moments| moments.ends.map(|ends| ends.1);
        // What it finds does not pass, or `passing` had found it.
        let back = self.backwards(first, last, end)?;
        Ok(if back.certain {
            Found::No(back.value)
        } else {
            Found::Perhaps
        })
    }

    /// Goes back from `last` until a segment has what `wanted` wants, or does
    /// not say.
    fn backwards<T>(
        &self,
        first: u64,
        last: u64,
        wanted: impl Fn(&Moments) -> Option<T>,
    ) -> Result<Back<T>, Stop> {
        let mut certain = true;
        for number in (first..=last).rev() {
            let Some(said) = self.said(number) else {
                // As many as were empty so far: few where commits are many,
                // and not thousands of questions one by one where none are.
                let many = (last - number).max(1);
                let from = number.saturating_sub(many - 1).max(first);
                let open = (from..=number).filter(|&it| self.said(it).is_none());
                return Err(Stop::Need(open.map(|it| self.track.name(it)).collect()));
            };
            let value = said.and_then(&wanted);
            certain &= said.is_some_and(|moments| number == last || !moments.cut);
            if value.is_some() || said.is_none() {
                return Ok(Back { value, certain });
            }
        }
        Ok(Back {
            value: None,
            certain,
        })
    }

    /// The first segment from `first` on whose last end passes; `last`'s does.
    fn bisect(
        &self,
        mut first: u64,
        mut last: u64,
        passes: impl Fn(Timestamp) -> bool,
    ) -> Result<u64, Stop> {
        // What earlier steps have learnt.
        let passed = |number: &u64| {
            let ends = self.said(*number).flatten().and_then(|it| it.ends);
            ends.is_some_and(|(_, latest)| !passes(latest))
        };
        if let Some(number) = (first..last).rev().find(passed) {
            first = number + 1;
        }
        while first < last {
            let middle = first + (last - first) / 2;
            let mut told = None;
            for number in (first..=middle).rev() {
                // Where nobody knows, the neighbours have to tell.
                let ends = self.of(number)?.and_then(|moments| moments.ends);
                if let Some((_, latest)) = ends {
                    told = Some((number, passes(latest)));
                    break;
                }
            }
            match told {
                Some((number, true)) => last = number,
                _ => first = middle + 1,
            }
        }
        Ok(last)
    }
}
