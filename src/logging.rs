//! The story on stderr: plain lines for a person, lines with a priority for
//! systemd's journal (sd-daemon(3)).

use std::fmt;

use tracing::{Event, Level, Subscriber, level_filters::LevelFilter};
use tracing_subscriber::{
    fmt::{FmtContext, FormatEvent, FormatFields, format::Writer},
    registry::LookupSpan,
};

/// Starts logging. `verbose` counts `-v`, `quiet` is `-q`.
pub fn start(verbose: u8, quiet: bool) {
    let level = match (quiet, verbose) {
        (true, _) => LevelFilter::ERROR,
        (false, 0) => LevelFilter::INFO,
        (false, 1) => LevelFilter::DEBUG,
        (false, _) => LevelFilter::TRACE,
    };
    // Set by systemd where stderr goes to the journal (systemd.exec(5)).
    let priorities = std::env::var_os("JOURNAL_STREAM").is_some();
    // Elsewhere it has its own log, and PostgreSQL's is not for it.
    let trail = match priorities || verbose > 0 {
        true => level,
        false => LevelFilter::WARN.min(level),
    };
    let filter = tracing_subscriber::filter::Targets::new()
        .with_target("walkeep", level)
        .with_target(crate::trail::TARGET, trail)
        // The demo's S3 servers log what their clients get as answers.
        .with_targets([("s3s", LevelFilter::OFF), ("s3s_fs", LevelFilter::OFF)])
        .with_default(LevelFilter::WARN.min(level));
    let layer = tracing_subscriber::fmt::layer()
        .with_writer(std::io::stderr)
        .with_ansi(false)
        .event_format(Line { priorities });
    use tracing_subscriber::{layer::SubscriberExt, util::SubscriberInitExt};
    // A second start, in tests, changes nothing.
    let _ = tracing_subscriber::registry()
        .with(layer)
        .with(filter)
        .try_init();
}

/// One event on one line: `walkeep: warning: text field=value`.
struct Line {
    priorities: bool,
}

impl<S, N> FormatEvent<S, N> for Line
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(
        &self,
        context: &FmtContext<'_, S, N>,
        mut writer: Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        let (priority, word) = match *event.metadata().level() {
            Level::ERROR => (3, "error: "),
            Level::WARN => (4, "warning: "),
            Level::INFO => (6, ""),
            Level::DEBUG | Level::TRACE => (7, ""),
        };
        if self.priorities {
            write!(writer, "<{priority}>")?;
        }
        write!(writer, "walkeep: {word}")?;
        context.format_fields(writer.by_ref(), event)?;
        writeln!(writer)
    }
}
