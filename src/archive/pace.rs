//! `ship.rate_limit`: so many bytes a second, over all stores together.

use std::{
    sync::{Mutex, PoisonError},
    time::Duration,
};

use tokio::time::{Instant, sleep_until};

/// Spaces transfers out. An object goes at full speed once its turn has come;
/// the next waits until the rate has made up for it.
#[derive(Debug)]
pub struct Pace {
    bytes_per_second: Option<u64>,
    free_at: Mutex<Instant>,
}

impl Pace {
    /// `None` is no limit.
    pub fn new(bytes_per_second: Option<u64>) -> Self {
        Pace {
            bytes_per_second,
            free_at: Mutex::new(Instant::now()),
        }
    }

    /// Waits for the turn of a transfer of `bytes`.
    pub async fn wait(&self, bytes: u64) {
        let Some(rate) = self.bytes_per_second else {
            return;
        };
        let turn = {
            let mut free_at = self.free_at.lock().unwrap_or_else(PoisonError::into_inner);
            let turn = (*free_at).max(Instant::now());
            *free_at = turn + Duration::from_secs_f64(bytes as f64 / rate as f64);
            turn
        };
        sleep_until(turn).await;
    }
}
