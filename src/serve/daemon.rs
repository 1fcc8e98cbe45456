//! The daemon's loop.

use std::{
    future::pending,
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::{Context, bail};
use futures_util::{StreamExt, future::LocalBoxFuture, stream::FuturesUnordered};
use nix::sys::signal::Signal as NixSignal;
use tokio::{
    signal::unix::{Signal, SignalKind, signal},
    sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel},
    time::{Interval, MissedTickBehavior, interval, sleep_until, timeout},
};

use super::{
    answers::{self, Clerk, Desk},
    arrivals::Arrivals,
    http::Http,
    jobs::{Jobs, Program},
    lanes::{Lanes, PassId},
    metrics::Metrics,
    routes::Answers,
    single::Single,
    systemd,
    watch::Watch,
};
use crate::{
    archive::{
        receive::{Source, Streaming},
        ship::{Goal, LaneEnd, Report, Seen, ShipError, Shipping, ship_observed},
        staging::Staging,
    },
    config::Config,
    store::StoreName,
};

/// The net under inotify, which tells nothing of what it lost, and of a volume
/// that was mounted anew.
const RESCAN: Duration = Duration::from_secs(5 * 60);
/// How long passes may go on when the daemon is to end. What they leave waits
/// in staging.
const DRAIN: Duration = Duration::from_secs(20);

/// How long streaming may take to end when the configuration is read again.
const CHANGE: Duration = Duration::from_secs(5);
/// How long a job may take to end then, before it is made to.
const LAST_WORDS: Duration = Duration::from_secs(12);

/// What the daemon works by.
pub struct Service {
    /// What it ships, and where to.
    pub shipping: Shipping,
    /// All of its configuration.
    pub config: Arc<Config>,
    /// How walkeep is run by it.
    pub program: Program,
}

/// Ships until SIGTERM or SIGINT. `load` reads the configuration, at the start
/// and on SIGHUP. Inside a tokio runtime.
pub async fn run(load: impl Fn() -> anyhow::Result<Service>) -> anyhow::Result<()> {
    let service = load()?;
    let source = Source::of(&service.config);
    let root = service.shipping.staging.root().to_owned();
    let _single = Single::on(&root)?;
    let mut signals = Signals::listen().context("listen for signals")?;
    let mut daemon = Daemon::new(service);
    daemon.stream(source)?;
    let arrivals = Arrivals::in_directory(&root);
    let arrivals = arrivals.with_context(|| format!("watch \"{}\"", root.display()))?;
    let mut desk = Desk::open(&root);
    let mut rescan = every(RESCAN);
    let mut watchdog = systemd::watchdog().map(every);
    systemd::ready();
    tracing::info!("ships what arrives in \"{}\"", root.display());
    let ending = loop {
        daemon.begin();
        daemon.jobs.begin();
        let next_job = daemon.jobs.wait().map(|wait| Instant::now() + wait);
        tokio::select! {
            () = arrivals.next() => daemon.lanes.want(),
            // At once for the first time: what waited before the start.
            _ = rescan.tick() => {
                // A volume that is away says so itself, in the pass.
                let _ = arrivals.renew();
                desk.renew();
                daemon.lanes.want();
            }
            Some(ended) = daemon.ends.recv() => daemon.lane_ended(ended),
            Some(ended) = daemon.passes.next() => daemon.pass_ended(ended),
            () = until(daemon.lanes.next_due()) => {}
            () = until(next_job) => {}
            stream = desk.next(), if daemon.talks.len() < answers::AT_ONCE => {
                let clerk = daemon.clerk.clone();
                daemon.talks.push(Box::pin(clerk.serve(stream)));
            }
            Some(()) = daemon.talks.next() => {}
            ended = daemon.jobs.next_end() => daemon.jobs.ended(ended),
            () = tick(watchdog.as_mut()) => systemd::alive(),
            told = signals.next() => match told {
                Told::Reload => daemon.reload(&load).await,
                Told::End(signal) => break signal,
            },
        }
    };
    systemd::stopping();
    drop(desk);
    tracing::info!("{ending}: ends, once what is on its way has arrived");
    if timeout(DRAIN, daemon.drain()).await.is_err() {
        tracing::warn!("what was still on its way stays staged");
    }
    daemon.watch.end().await;
    // Nothing, unless it did not hear.
    daemon.jobs.stop(NixSignal::SIGKILL);
    Ok(())
}

fn every(period: Duration) -> Interval {
    let mut ticks = interval(period);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    ticks
}

async fn tick(ticks: Option<&mut Interval>) {
    match ticks {
        Some(ticks) => drop(ticks.tick().await),
        None => pending().await,
    }
}

async fn until(due: Option<Instant>) {
    match due {
        Some(due) => sleep_until(due.into()).await,
        None => pending().await,
    }
}

/// What a signal asks for.
enum Told {
    Reload,
    End(&'static str),
}

struct Signals {
    terminate: Signal,
    interrupt: Signal,
    hang_up: Signal,
}

impl Signals {
    fn listen() -> std::io::Result<Self> {
        Ok(Signals {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            hang_up: signal(SignalKind::hangup())?,
        })
    }

    async fn next(&mut self) -> Told {
        tokio::select! {
            _ = self.terminate.recv() => Told::End("SIGTERM"),
            _ = self.interrupt.recv() => Told::End("SIGINT"),
            _ = self.hang_up.recv() => Told::Reload,
        }
    }
}

/// A store's part of a pass is over.
struct LaneEnded {
    pass: PassId,
    store: StoreName,
    end: LaneEnd,
}

/// What came of a pass.
type Ended = (PassId, Result<Report, ShipError>);

struct Daemon {
    shipping: Shipping,
    metrics: Arc<Metrics>,
    answers: Arc<Answers>,
    http: Http,
    clerk: Clerk,
    /// Those who ask, and are being served.
    talks: FuturesUnordered<LocalBoxFuture<'static, ()>>,
    jobs: Jobs,
    watch: Watch,
    lanes: Lanes,
    passes: FuturesUnordered<LocalBoxFuture<'static, Ended>>,
    streaming: Option<Streaming>,
    ended: UnboundedSender<LaneEnded>,
    ends: UnboundedReceiver<LaneEnded>,
}

impl Daemon {
    fn new(service: Service) -> Self {
        let Service {
            shipping,
            config,
            program,
        } = service;
        let (ended, ends) = unbounded_channel();
        let metrics = Arc::new(Metrics::new(&config.cluster.name));
        let answers = Answers::new(Arc::clone(&config), Arc::clone(&metrics));
        let http = Http::start(&config.serve, answers.routes());
        let schedule = config.schedule.clone();
        let jobs = Jobs::new(program.clone(), schedule, shipping.catalog.clone());
        let watch = Watch::start(Arc::clone(&config), shipping.places.clone());
        let clerk = Clerk {
            config,
            shipping: shipping.clone(),
            program,
        };
        let mut lanes = Lanes::default();
        lanes.set(names(&shipping));
        Daemon {
            shipping,
            metrics,
            answers,
            http,
            clerk,
            talks: FuturesUnordered::new(),
            jobs,
            watch,
            lanes,
            passes: FuturesUnordered::new(),
            streaming: None,
            ended,
            ends,
        }
    }

    /// Begins a pass where one is due.
    fn begin(&mut self) {
        let Some((pass, left_out)) = self.lanes.begin(Instant::now()) else {
            return;
        };
        let mut shipping = self.shipping.clone();
        shipping.left_out = Arc::new(left_out);
        let ended = self.ended.clone();
        let metrics = Arc::clone(&self.metrics);
        self.passes.push(Box::pin(async move {
            let begun = Instant::now();
            let observe = |seen: Seen<'_>| {
                metrics.observe(&seen);
                if let Seen::LaneEnded { store, end, .. } = seen {
                    let store = store.clone();
                    // The daemon outlives its passes.
                    let _ = ended.send(LaneEnded { pass, store, end });
                }
            };
            let report = ship_observed(&shipping, Goal::Everything, &observe).await;
            metrics.passed(begun.elapsed());
            (pass, report)
        }));
    }

    fn lane_ended(&mut self, ended: LaneEnded) {
        let LaneEnded { pass, store, end } = ended;
        if let Some(rest) = self.lanes.end(pass, &store, end, Instant::now()) {
            let seconds = rest.as_secs();
            tracing::info!("store \"{store}\" is asked again in {seconds} s");
            self.watch.look();
        }
    }

    fn pass_ended(&mut self, (pass, report): Ended) {
        // What its lanes said was said before it ended.
        while let Ok(ended) = self.ends.try_recv() {
            self.lane_ended(ended);
        }
        self.lanes.end_all(pass, Instant::now());
        match report {
            Ok(report) if report.files > 0 => {
                tracing::info!(
                    "{} files left staging, {} wait",
                    report.files,
                    report.waiting
                );
                systemd::status(&format!("{} files wait", report.waiting));
            }
            Ok(_) => {}
            Err(error) => tracing::error!("{:#}", anyhow::Error::new(error)),
        }
    }

    /// Takes the new configuration, or keeps the old one and says why.
    async fn reload(&mut self, load: impl Fn() -> anyhow::Result<Service>) {
        systemd::reloading();
        let loaded = load().and_then(|new| {
            let source = Source::of(&new.config);
            self.take_over(new)?;
            Ok(source)
        });
        let taken = match loaded {
            Ok(source) => self.stream_anew(source).await,
            Err(error) => Err(error),
        };
        match taken {
            Ok(()) => tracing::info!("the configuration was read again"),
            Err(error) => {
                tracing::error!("the configuration from before stays in use: {error:#}");
            }
        }
        systemd::ready();
    }

    fn take_over(&mut self, new: Service) -> anyhow::Result<()> {
        let Service {
            shipping: new,
            config,
            ..
        } = new;
        let of = |staging: &Staging| (staging.root().to_owned(), staging.marker().clone());
        if of(&new.staging) != of(&self.shipping.staging) {
            bail!("the staging directory is another one now; restart the daemon");
        }
        self.watch.renew(Arc::clone(&config), new.places.clone());
        self.lanes.set(names(&new));
        self.lanes.want();
        self.jobs.take_over(config.schedule.clone());
        self.http.take_over(&config.serve);
        self.answers.take_over(Arc::clone(&config));
        self.clerk.config = config;
        self.clerk.shipping = new.clone();
        self.shipping = new;
        Ok(())
    }

    fn stream(&mut self, source: Option<Source>) -> anyhow::Result<()> {
        let streaming = source.map(|source| Streaming::begin(source, &self.shipping));
        self.streaming = streaming.transpose().context("begin to stream")?;
        Ok(())
    }

    /// Stores, keys and the server may be others now.
    async fn stream_anew(&mut self, source: Option<Source>) -> anyhow::Result<()> {
        self.end_streaming().await;
        self.stream(source)
    }

    async fn end_streaming(&mut self) {
        if let Some(streaming) = self.streaming.take()
            && timeout(CHANGE, streaming.end()).await.is_err()
        {
            tracing::warn!("a store did not get the last of what is streamed");
        }
    }

    async fn drain(&mut self) {
        let streaming = self.streaming.take();
        let end = async move {
            if let Some(streaming) = streaming {
                streaming.end().await;
            }
        };
        tokio::join!(end, self.drain_work());
    }

    async fn drain_work(&mut self) {
        self.jobs.stop(NixSignal::SIGTERM);
        let deadline = Instant::now() + LAST_WORDS;
        while !self.passes.is_empty() || !self.talks.is_empty() || self.jobs.is_busy() {
            let impatient = self.jobs.is_busy().then_some(deadline);
            tokio::select! {
                Some(ended) = self.passes.next() => self.pass_ended(ended),
                Some(()) = self.talks.next() => {}
                ended = self.jobs.next_end() => self.jobs.ended(ended),
                () = until(impatient) => {
                    self.jobs.stop(NixSignal::SIGKILL);
                    tokio::time::sleep(Duration::from_millis(100)).await;
                }
            }
        }
    }
}

fn names(shipping: &Shipping) -> impl Iterator<Item = StoreName> {
    shipping.places.iter().map(|place| place.name().clone())
}
