//! The daemon's watch: gathers the facts every minute and when something
//! happens, keeps the alerts, and has them told. A task of its own, beside all
//! shipping.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use jiff::{Timestamp, tz::TimeZone};
use tokio::{
    sync::{Notify, watch},
    task::{JoinHandle, spawn_blocking},
    time::{sleep, timeout},
};

use super::{
    alerts::{Condition, Pace, Step, Thresholds, conditions, step},
    facts::{Facts, Gatherer},
    report::Report,
    sinks::{Message, Occasion, Sinks, heartbeat},
};
use crate::{
    archive::place::Place,
    catalog::{AlertRecord, Catalog, CatalogError},
    config::Config,
};

/// How often the facts are gathered, at the least.
const PERIOD: Duration = Duration::from_secs(60);
/// How often, at the most.
const PAUSE: Duration = Duration::from_secs(1);
/// A clock that is off by so much is written down, in seconds.
const NOTED_SKEW: i64 = 30;
/// How long the end of the daemon waits for what is to be told.
const LAST_WORDS: Duration = Duration::from_secs(5);

/// What was seen last.
#[derive(Debug)]
pub struct Seen {
    /// The facts.
    pub facts: Facts,
    /// What is not as it should be.
    pub conditions: Vec<Condition>,
}

/// What is watched, and by which settings.
type Settings = (Arc<Config>, Vec<Place>);

/// The running watch.
pub struct Watch {
    look: Arc<Notify>,
    seen: watch::Receiver<Option<Arc<Seen>>>,
    /// None: it is to end.
    settings: watch::Sender<Option<Settings>>,
    task: JoinHandle<()>,
}

impl Watch {
    /// Begins to watch. Inside a tokio runtime.
    pub fn start(config: Arc<Config>, places: Vec<Place>) -> Self {
        let look = Arc::new(Notify::new());
        let (sender, seen) = watch::channel(None);
        let settings = (config, places);
        let watcher = Watcher::new(settings.clone());
        let (settings, new) = watch::channel(Some(settings));
        let task = tokio::spawn(watcher.run(Arc::clone(&look), sender, new));
        Watch {
            look,
            seen,
            settings,
            task,
        }
    }

    /// By another configuration, from the next look on.
    pub fn renew(&self, config: Arc<Config>, places: Vec<Place>) {
        self.settings.send_replace(Some((config, places)));
    }

    /// Something happened: looks soon.
    pub fn look(&self) {
        self.look.notify_one();
    }

    /// What was seen last; `None` before the first look has ended.
    pub fn seen(&self) -> watch::Receiver<Option<Arc<Seen>>> {
        self.seen.clone()
    }

    /// Ends, and what is to be told still is, where that takes no time.
    pub async fn end(self) {
        self.settings.send_replace(None);
        let _ = timeout(LAST_WORDS * 2, self.task).await;
    }
}

/// What goes from one look to the next.
struct Kept {
    gatherer: Gatherer,
    /// The open alerts, for when the catalog does not tell.
    open: Vec<AlertRecord>,
    /// What the catalog has of the clocks.
    clocks: Vec<(String, i64)>,
}

struct Watcher {
    config: Arc<Config>,
    places: Vec<Place>,
    catalog: Catalog,
    sinks: Sinks,
    kept: Option<Kept>,
    /// Since when the report is due by its schedule.
    since: Timestamp,
    /// When it was sent last.
    reported: Option<Timestamp>,
    /// When the sign of life is next due.
    beat: Instant,
    beats: bool,
}

impl Watcher {
    fn new((config, places): Settings) -> Self {
        let catalog = Catalog::at(&config.catalog);
        Watcher {
            sinks: Sinks::start(&config.alerts.sinks, &catalog),
            config,
            places,
            catalog,
            kept: None,
            since: Timestamp::now(),
            reported: None,
            beat: Instant::now(),
            beats: true,
        }
    }

    async fn run(
        mut self,
        look: Arc<Notify>,
        sender: watch::Sender<Option<Arc<Seen>>>,
        mut new: watch::Receiver<Option<Settings>>,
    ) {
        let mut first = true;
        loop {
            if let Some((seen, step)) = self.look().await {
                if std::mem::take(&mut first) {
                    self.tell_again(&step, &seen.facts);
                }
                self.tell(step, &seen.facts);
                self.report(&seen);
                let green = seen.conditions.is_empty();
                sender.send_replace(Some(Arc::new(seen)));
                if green {
                    self.sign_of_life().await;
                }
            }
            tokio::select! {
                () = sleep(self.period()) => {}
                () = async { sleep(PAUSE).await; look.notified().await } => {}
                _ = new.changed() => {
                    let settings = new.borrow_and_update().clone();
                    match settings {
                        Some(settings) => self.renew(settings),
                        None => break,
                    }
                }
            }
        }
        self.sinks.end(LAST_WORDS).await;
    }

    /// What is to be told within seconds is looked for as often.
    fn period(&self) -> Duration {
        let alerts = &self.config.alerts;
        let period = (alerts.lag / 15).min(alerts.heartbeat_interval);
        period.clamp(PAUSE, PERIOD)
    }

    fn renew(&mut self, settings: Settings) {
        let mut next = Watcher::new(settings);
        if next.config.alerts.report == self.config.alerts.report {
            (next.since, next.reported) = (self.since, self.reported);
        }
        let before = std::mem::replace(self, next);
        // What was to be told goes out by the old ways.
        tokio::spawn(before.sinks.end(PERIOD));
    }

    /// Gathers, on a thread that may block, and writes down what changed.
    async fn look(&mut self) -> Option<(Seen, Step)> {
        let skews = self.skews();
        let (config, catalog) = (Arc::clone(&self.config), self.catalog.clone());
        let kept = self.kept.take();
        let looked = spawn_blocking(move || {
            let mut kept = kept.unwrap_or_else(|| Kept {
                gatherer: Gatherer::default(),
                open: Vec::new(),
                clocks: Vec::new(),
            });
            kept.note_clocks(&catalog, skews);
            let (seen, step) = kept.look(&config, &catalog);
            (kept, seen, step)
        });
        match looked.await {
            Ok((kept, seen, step)) => {
                self.kept = Some(kept);
                Some((seen, step))
            }
            Err(error) => {
                tracing::error!("the watch's thread died: {error}");
                None
            }
        }
    }

    fn skews(&self) -> Vec<(String, i64)> {
        let places = self.places.iter();
        places
            .filter_map(|place| Some((place.name().to_string(), place.store.clock_skew()?)))
            .collect()
    }

    fn tell(&self, step: Step, facts: &Facts) {
        for (turn, alert) in step.tell {
            let message = Message::about(alert, turn.into(), &facts.cluster, facts.at);
            match message.event {
                Occasion::Resolved => tracing::info!("{}", message.title),
                _ => tracing::warn!(
                    "{}: {}",
                    message.title,
                    message.text.lines().next().unwrap_or("")
                ),
            }
            self.sinks.tell(&message);
        }
    }

    /// What a sink did not take may have been lost with the daemon before.
    fn tell_again(&self, step: &Step, facts: &Facts) {
        let failing = facts.sinks.iter().filter(|sink| sink.failing.is_some());
        let told = |id: &str| step.tell.iter().any(|(_, alert)| alert.id == id);
        for sink in failing {
            for alert in &facts.alerts {
                if alert.raised.is_none() || alert.acknowledged.is_some() || told(&alert.id) {
                    continue;
                }
                let message =
                    Message::about(alert.clone(), Occasion::Repeated, &facts.cluster, facts.at);
                self.sinks.tell_one(&sink.name, message);
            }
        }
    }

    /// Sends the report of the day, where it is due.
    fn report(&mut self, seen: &Seen) {
        let (schedule, now) = (self.config.alerts.report, Timestamp::now());
        let due = schedule.due(self.since, self.reported, &TimeZone::system());
        if due.is_none_or(|due| due > now) {
            return;
        }
        self.reported = Some(now);
        let Seen { facts, conditions } = seen;
        let text = format!(
            "{}\n\n{}",
            Report::verdict(conditions),
            Report::of(facts, conditions)
        );
        let message = Message::report(text, &facts.cluster, now);
        self.sinks.tell(&message);
    }

    /// Calls whoever waits for a sign of life, while all is well.
    async fn sign_of_life(&mut self) {
        let alerts = &self.config.alerts;
        let Some(url) = &alerts.heartbeat else { return };
        if self.beat > Instant::now() {
            return;
        }
        self.beat = Instant::now() + alerts.heartbeat_interval.saturating_sub(PAUSE / 2);
        let called = heartbeat(url, Duration::from_secs(10)).await;
        let beats = called.is_ok();
        if let Err(error) = called
            && self.beats
        {
            tracing::warn!("alerts.heartbeat_url: {error}");
        }
        self.beats = beats;
    }
}

impl Kept {
    fn note_clocks(&mut self, catalog: &Catalog, skews: Vec<(String, i64)>) {
        for (store, skew) in skews {
            let known = self.clocks.iter().position(|(known, _)| *known == store);
            let last = known.map(|index| self.clocks[index].1);
            let off = |skew: i64| skew.abs() >= NOTED_SKEW;
            // What an earlier daemon noted may be over.
            let news = match last {
                None => true,
                Some(last) => (off(last) || off(skew)) && last != skew,
            };
            if !news {
                continue;
            }
            if let Err(error) = catalog.write(|writer| writer.note_clock(&store, skew)) {
                tracing::warn!("note a store's clock: {error}");
                continue;
            }
            match known {
                Some(index) => self.clocks[index].1 = skew,
                None => self.clocks.push((store, skew)),
            }
        }
    }

    fn look(&mut self, config: &Config, catalog: &Catalog) -> (Seen, Step) {
        let facts = self.gatherer.gather(config);
        let conditions = conditions(&facts, Thresholds::of(config));
        if let Ok(open) = catalog.read(|reader| reader.alerts()) {
            self.open = open;
        }
        let pace = Pace::of(&config.alerts);
        let step = step(&self.open, &conditions, Timestamp::now(), pace);
        if let Err(error) = note(catalog, &step) {
            tracing::warn!("note alerts: {error}");
        }
        self.apply(&step);
        (Seen { facts, conditions }, step)
    }

    fn apply(&mut self, step: &Step) {
        let changed = |id: &String| step.note.iter().any(|it| it.id == *id);
        self.open
            .retain(|it| !step.forget.contains(&it.id) && !changed(&it.id));
        let open = step.note.iter().filter(|it| it.resolved.is_none());
        self.open.extend(open.cloned());
    }
}

fn note(catalog: &Catalog, step: &Step) -> Result<(), CatalogError> {
    if step.note.is_empty() && step.forget.is_empty() {
        return Ok(());
    }
    catalog.write(|writer| {
        for id in &step.forget {
            writer.forget_alert(id)?;
        }
        for alert in &step.note {
            writer.note_alert(alert)?;
        }
        Ok(())
    })
}
