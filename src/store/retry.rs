//! When to ask again: the one place that decides it.

use std::time::{Duration, Instant};

use backon::{BackoffBuilder, ExponentialBackoff, ExponentialBuilder};

use super::error::StoreErrorKind;

/// How patient an operation is.
#[derive(Debug, Clone, Copy)]
pub struct RetryPolicy {
    /// Attempts at most, the first included.
    pub attempts: u32,
    /// No attempt begins later than this after the first began.
    pub deadline: Duration,
    /// The longest pause before the second attempt; it doubles from there.
    pub base: Duration,
    /// The longest pause at all, and as long as a `Retry-After` is obeyed.
    pub cap: Duration,
}

impl Default for RetryPolicy {
    /// For `ship`: B2 answers 503 by design and asks for pauses from 1 s
    /// (providers' documentation, docs/FORMAT.md); what lasts longer is for
    /// the next pass.
    fn default() -> Self {
        RetryPolicy {
            attempts: 5,
            deadline: Duration::from_secs(60),
            base: Duration::from_secs(1),
            cap: Duration::from_secs(15),
        }
    }
}

impl RetryPolicy {
    /// One attempt.
    pub const ONCE: RetryPolicy = RetryPolicy {
        attempts: 1,
        deadline: Duration::ZERO,
        base: Duration::ZERO,
        cap: Duration::ZERO,
    };

    /// As often as fits into `deadline`.
    pub fn until(deadline: Duration) -> Self {
        RetryPolicy {
            attempts: u32::MAX,
            deadline,
            ..RetryPolicy::default()
        }
    }
}

/// Why one attempt failed.
#[derive(Debug)]
pub(super) struct Failure {
    pub(super) kind: StoreErrorKind,
    pub(super) detail: String,
    /// What the server asked for.
    pub(super) retry_after: Option<Duration>,
}

impl Failure {
    pub(super) fn new(kind: StoreErrorKind, detail: impl Into<String>) -> Self {
        Failure {
            kind,
            detail: detail.into(),
            retry_after: None,
        }
    }
}

/// The attempts at one operation. Pauses have full jitter: many hosts that
/// lost a store together don't come back together.
pub(super) struct Attempts<'a> {
    policy: &'a RetryPolicy,
    begun: Instant,
    pauses: ExponentialBackoff,
    made: u32,
}

impl<'a> Attempts<'a> {
    /// The first one begins now.
    pub(super) fn new(policy: &'a RetryPolicy) -> Self {
        Attempts {
            policy,
            begun: Instant::now(),
            pauses: ExponentialBuilder::default()
                .with_min_delay(policy.base)
                .with_max_delay(policy.cap)
                .without_max_times()
                .build(),
            made: 1,
        }
    }

    /// Waits until the next one may begin. Where none may, since it would fail
    /// again or the policy ends, gives the failure back, and how many there
    /// were.
    pub(super) async fn again(&mut self, failure: Failure) -> Result<(), (Failure, u32)> {
        let longest = self.pauses.next().unwrap_or(self.policy.cap);
        let pause = match failure.retry_after {
            Some(asked) => asked.min(self.policy.cap),
            None => longest.mul_f64(fastrand::f64()),
        };
        let over = self.made >= self.policy.attempts
            || self.begun.elapsed() + pause > self.policy.deadline;
        if failure.kind.is_permanent() || over {
            return Err((failure, self.made));
        }
        tracing::debug!(
            attempts = self.made,
            "{}: {}; again in {pause:.1?}",
            failure.kind,
            failure.detail
        );
        tokio::time::sleep(pause).await;
        self.made += 1;
        Ok(())
    }
}
