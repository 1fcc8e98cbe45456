//! Ways to tell somebody. Each one has a task and a queue of its own, so that
//! one that hangs holds up neither the others nor anything that is shipped.
//!
//! ```text
//! message  what is told, as JSON and as text
//! hook     webhook, Slack, heartbeat
//! mail     SMTP
//! command  a program
//! queue    a task for each, with retries that end
//! ```

mod command;
mod hook;
mod mail;
mod message;
mod queue;

pub use hook::{call, heartbeat};
pub use message::{Message, Occasion};
pub use queue::Sinks;

use crate::config::{SinkSettings, Way};

/// Why a message did not get out. Says no secret.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct SinkError(String);

/// Sends one message, once. Inside a tokio runtime.
pub async fn send(sink: &SinkSettings, message: &Message) -> Result<(), SinkError> {
    let sent = async {
        match &sink.way {
            Way::Webhook(to) => hook::post(to, message.json(), sink.timeout).await,
            Way::Slack(to) => hook::post(to, message.slack(), sink.timeout).await,
            Way::Smtp(to) => mail::send(to.clone(), message.clone(), sink.timeout).await,
            Way::Command(to) => command::run(to.clone(), message.json(), sink.timeout).await,
        }
    };
    // Each has time-outs of its own, which say more; this one is the end.
    let late = || SinkError(format!("it took longer than {:?}", sink.timeout));
    let limit = sink.timeout + std::time::Duration::from_secs(5);
    tokio::time::timeout(limit, sent)
        .await
        .map_err(|_| late())?
}
