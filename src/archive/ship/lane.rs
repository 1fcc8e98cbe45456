//! One store's way through the staged files: its own pace, its own failures.

use std::{
    sync::atomic::{AtomicBool, Ordering},
    time::Instant,
};

use futures_util::{StreamExt, stream};
use tokio::sync::mpsc::Sender;

use super::{
    Goal, Job, LaneEnd, Observer, Pass, Seen,
    bodies::{LaneId, Taken},
    copy,
    deliver::{Delivered, Object, deliver},
    ledger::News,
    owed::{self, Paid},
    pack::PackError,
};
use crate::{
    archive::{claim, place::Place},
    store::StoreError,
};

/// The store that files go to, and where to say what came of it.
pub(super) struct Lane<'a> {
    pub(super) id: LaneId,
    pub(super) place: &'a Place,
    pub(super) pass: &'a Pass,
    pub(super) observer: &'a Observer<'a>,
    pub(super) news: Sender<News>,
    /// Whether the store has taken any file in this pass.
    pub(super) took: AtomicBool,
}

/// The pass is over for this store.
enum Stop {
    /// It is out of reach, or refuses everything.
    Store(StoreError),
    /// The ledger has stopped; its own error says why.
    Ledger,
}

impl Lane<'_> {
    /// Sends what this store lacks, oldest first; then what it is owed.
    pub(super) async fn run(&self, jobs: &[Job]) {
        let confirmed = self.confirm().await;
        // What fails later is shown with the file that it was about.
        let error = match &confirmed {
            Err(Stop::Store(error)) => Some(error.kind.word()),
            _ => None,
        };
        let sent = match confirmed {
            Ok(()) => self.send_all(jobs).await,
            stopped => stopped,
        };
        self.pass.bodies.leave(self.id);
        let ended = match sent {
            // A push waits for its own file, not for what is owed.
            Ok(()) if self.pass.goal == Goal::Everything => self.pay_debts().await,
            stopped => stopped,
        };
        (self.observer)(Seen::LaneEnded {
            store: self.place.name(),
            end: match (&ended, self.took.load(Ordering::Relaxed)) {
                (Ok(()), _) => LaneEnd::Done,
                (Err(_), true) => LaneEnd::CutShort,
                (Err(_), false) => LaneEnd::Failed,
            },
            error,
        });
        if let Err(Stop::Store(error)) = ended {
            tracing::warn!("{error}");
            // A ledger that has stopped says so itself.
            let _ = self
                .news
                .send(News::StoreFailed {
                    lane: self.id,
                    error,
                })
                .await;
        }
    }

    /// What were sent to a place that is not this archive's would leave
    /// staging all the same.
    async fn confirm(&self) -> Result<(), Stop> {
        let marker = self.pass.shipping.staging.marker();
        let ours = Some(marker.system_identifier);
        let confirmed = claim::confirm(self.place, marker.generation, ours, true);
        confirmed.await.map_err(Stop::Store)
    }

    async fn send_all(&self, jobs: &[Job]) -> Result<(), Stop> {
        let lacking = jobs.iter().filter(|job| job.needed_by.contains(&self.id));
        let mut sends = stream::iter(lacking.map(|job| self.send(job)))
            .buffer_unordered(self.pass.shipping.concurrency);
        while let Some(sent) = sends.next().await {
            sent?;
        }
        Ok(())
    }

    async fn send(&self, job: &Job) -> Result<(), Stop> {
        let name = job.file.name;
        let taken = match self
            .pass
            .bodies
            .take(&job.file, self.id, &job.needed_by)
            .await
        {
            Ok(taken) => taken,
            // Another process has shipped it: that is as good.
            Err(PackError::Gone) => return self.tell(News::Gone { name }).await,
            Err(error) => return self.tell(News::Unpacked { name, error }).await,
        };
        let staged = taken.packed().facts.raw_sha256;
        if let Some(recorded) = job.recorded.filter(|recorded| *recorded != staged) {
            return self
                .tell(News::OtherBytes {
                    name,
                    recorded,
                    staged,
                })
                .await;
        }
        let delivered = self.deliver(job, &taken).await;
        let facts = taken.packed().facts.clone();
        let lane = self.id;
        match delivered {
            Ok(delivered) => {
                self.tell(News::Delivered {
                    name,
                    lane,
                    facts,
                    delivered,
                })
                .await
            }
            Err(error) if error.concerns_whole_store() => Err(Stop::Store(error)),
            Err(error) => {
                self.tell(News::FileFailed {
                    name,
                    lane,
                    facts,
                    error,
                })
                .await
            }
        }
    }

    async fn deliver(&self, job: &Job, taken: &Taken) -> Result<Delivered, StoreError> {
        let packed = taken.packed();
        self.pass.shipping.pace.wait(packed.body.length).await;
        let what = Object {
            generation: self.pass.shipping.staging.marker().generation,
            name: job.file.name,
            format: self.pass.shipping.encoder.format(),
        };
        let begun = Instant::now();
        let delivered = deliver(self.place, what, &packed.facts, &packed.body).await;
        self.show(job.file.size, delivered.as_ref(), begun);
        delivered
    }

    /// Shows what came of a file, to whoever watches.
    fn show(&self, raw_bytes: u64, delivered: Result<&Delivered, &StoreError>, begun: Instant) {
        if matches!(delivered, Ok(Delivered::Stored(_))) {
            self.took.store(true, Ordering::Relaxed);
        }
        (self.observer)(Seen::Sent {
            store: self.place.name(),
            raw_bytes,
            outcome: match delivered {
                Ok(Delivered::Stored(object)) => Ok(object.stored_size),
                Ok(Delivered::Conflict { .. }) => Err("conflict"),
                Ok(Delivered::Damaged { .. }) => Err("damaged"),
                Err(error) => Err(error.kind.word()),
            },
            took: begun.elapsed(),
        });
    }

    /// Copies, from the stores that have them, the files that staging let go
    /// of while this store was away.
    async fn pay_debts(&self) -> Result<(), Stop> {
        let debts = match owed::debts(&self.pass.shipping, self.place.name()).await {
            Ok(debts) => debts,
            Err(error) => return self.tell(News::CatalogFailed(error)).await,
        };
        for record in debts {
            let begun = Instant::now();
            let paid = owed::pay(self.pass, self.place, &record).await;
            match &paid {
                Ok(Paid::Delivered(delivered)) => self.show(record.raw_size, Ok(delivered), begun),
                Ok(Paid::Unpaid(_)) => {}
                Err(error) => self.show(record.raw_size, Err(error), begun),
            }
            match paid {
                Ok(Paid::Delivered(delivered)) => {
                    let (lane, name) = (self.id, record.name);
                    let facts = copy::facts(&record);
                    self.tell(News::Delivered {
                        name,
                        lane,
                        facts,
                        delivered,
                    })
                    .await?;
                }
                Ok(Paid::Unpaid(reason)) => {
                    let (lane, name) = (self.id, record.name);
                    self.tell(News::Unpaid { name, lane, reason }).await?;
                }
                Err(error) if error.concerns_whole_store() => return Err(Stop::Store(error)),
                Err(error) => {
                    let (lane, name) = (self.id, record.name);
                    let facts = copy::facts(&record);
                    self.tell(News::FileFailed {
                        name,
                        lane,
                        facts,
                        error,
                    })
                    .await?;
                }
            }
        }
        Ok(())
    }

    async fn tell(&self, news: News) -> Result<(), Stop> {
        self.news.send(news).await.map_err(|_| Stop::Ledger)
    }
}
