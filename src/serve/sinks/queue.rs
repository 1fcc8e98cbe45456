//! A task and a queue for each sink. What a sink does not take is tried again,
//! later and later, and dropped at last: an alert that goes on is told again
//! anyway.

use std::time::Duration;

use jiff::Timestamp;
use tokio::{
    sync::mpsc::{Receiver, Sender, channel},
    task::{JoinSet, spawn_blocking},
};

use super::{Message, send};
use crate::{catalog::Catalog, config::SinkSettings};

/// How many messages wait for a sink.
const WAITING: usize = 100;
/// After so long a message is tried again for the first time; each further
/// time after twice as long.
const FIRST_PAUSE: Duration = Duration::from_secs(5);
/// The longest pause.
const LONGEST_PAUSE: Duration = Duration::from_secs(10 * 60);
/// How often a message is tried: for a good hour.
const ATTEMPTS: u32 = 13;

/// Every configured sink.
#[derive(Debug)]
pub struct Sinks {
    queues: Vec<(String, Sender<Message>)>,
    tasks: JoinSet<()>,
}

impl Sinks {
    /// Inside a tokio runtime.
    pub fn start(settings: &[SinkSettings], catalog: &Catalog) -> Self {
        let mut sinks = Sinks {
            queues: Vec::new(),
            tasks: JoinSet::new(),
        };
        for sink in settings {
            let (sender, receiver) = channel(WAITING);
            sinks.queues.push((sink.name.clone(), sender));
            sinks
                .tasks
                .spawn(serve(sink.clone(), catalog.clone(), receiver));
        }
        sinks
    }

    /// Tells every sink.
    pub fn tell(&self, message: &Message) {
        for (name, queue) in &self.queues {
            put(name, queue, message.clone());
        }
    }

    /// Tells one sink.
    pub fn tell_one(&self, name: &str, message: Message) {
        if let Some((name, queue)) = self.queues.iter().find(|(it, _)| it == name) {
            put(name, queue, message);
        }
    }

    /// Waits until everything was told, or for so long.
    pub async fn end(mut self, patience: Duration) {
        self.queues.clear();
        let all = async { while self.tasks.join_next().await.is_some() {} };
        let _ = tokio::time::timeout(patience, all).await;
    }
}

fn put(name: &str, queue: &Sender<Message>, message: Message) {
    if queue.try_send(message).is_err() {
        tracing::error!("sink \"{name}\": too many messages wait; one is dropped");
    }
}

async fn serve(sink: SinkSettings, catalog: Catalog, mut queue: Receiver<Message>) {
    while let Some(message) = queue.recv().await {
        deliver(&sink, &catalog, &message).await;
    }
}

async fn deliver(sink: &SinkSettings, catalog: &Catalog, message: &Message) {
    let mut pause = FIRST_PAUSE;
    for attempt in 1..=ATTEMPTS {
        let sent = send(sink, message).await;
        let failure = sent.err().map(|error| error.to_string());
        note(catalog, &sink.name, failure.clone()).await;
        let Some(error) = failure else { return };
        let (name, title) = (&sink.name, &message.title);
        tracing::error!("sink \"{name}\" did not take \"{title}\" (attempt {attempt}): {error}");
        if attempt < ATTEMPTS {
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
    }
    tracing::error!("sink \"{}\": \"{}\" is dropped", sink.name, message.title);
}

/// Writes down how the sink does, for whoever asks for the status.
async fn note(catalog: &Catalog, sink: &str, failure: Option<String>) {
    let (catalog, sink) = (catalog.clone(), sink.to_owned());
    let noted = spawn_blocking(move || {
        catalog.write(|writer| writer.note_sink(&sink, Timestamp::now(), failure))
    });
    if let Ok(Err(error)) = noted.await {
        tracing::warn!("note how a sink does: {error}");
    }
}
