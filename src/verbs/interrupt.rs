//! A signal that says that nobody waits any longer, for verbs that have
//! something to remove then.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use anyhow::Context;
use signal_hook::{
    consts::{SIGHUP, SIGINT, SIGTERM},
    flag,
};

const PAUSE: Duration = Duration::from_millis(20);

/// The signal that came; 0 is none.
#[derive(Clone, Default)]
pub(super) struct Interrupt(Arc<AtomicUsize>);

impl Interrupt {
    /// Notes SIGINT, SIGTERM and SIGHUP from now on, instead of ending.
    pub(super) fn watch() -> anyhow::Result<Self> {
        let interrupt = Interrupt::default();
        for signal in [SIGINT, SIGTERM, SIGHUP] {
            flag::register_usize(signal, Arc::clone(&interrupt.0), signal as usize)
                .context("handle signals")?;
        }
        Ok(interrupt)
    }

    /// The signal that came, if one did.
    pub(super) fn signal(&self) -> Option<i32> {
        let signal = self.0.load(Ordering::Relaxed);
        (signal != 0).then_some(signal as i32)
    }
}

/// Waits until nobody waits any longer.
pub(super) async fn until(stop: &dyn Fn() -> bool) {
    while !stop() {
        tokio::time::sleep(PAUSE).await;
    }
}
