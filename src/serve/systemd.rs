//! What systemd is told (sd_notify(3)). Without it, nothing happens.

use std::time::Duration;

use sd_notify::NotifyState;

/// How often the watchdog wants to hear of us: half of the time after which it
/// would act (sd_watchdog_enabled(3)). `None` where there is none.
pub(super) fn watchdog() -> Option<Duration> {
    sd_notify::watchdog_enabled().map(|limit| limit / 2)
}

/// The daemon works.
pub(super) fn ready() {
    tell(&[NotifyState::Ready]);
}

/// The daemon still works.
pub(super) fn alive() {
    tell(&[NotifyState::Watchdog]);
}

/// The configuration is being read again.
pub(super) fn reloading() {
    match NotifyState::monotonic_usec_now() {
        Ok(now) => tell(&[NotifyState::Reloading, now]),
        Err(_) => tell(&[NotifyState::Reloading]),
    }
}

/// The daemon is about to end.
pub(super) fn stopping() {
    tell(&[NotifyState::Stopping]);
}

/// One line for `systemctl status`.
pub(super) fn status(line: &str) {
    tell(&[NotifyState::Status(line)]);
}

fn tell(state: &[NotifyState<'_>]) {
    // Whoever listens may be gone; that is not the daemon's affair.
    let _ = sd_notify::notify(state);
}
