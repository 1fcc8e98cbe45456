//! The progress bar, for whoever looks.

use std::{io::IsTerminal, thread, time::Duration};

use indicatif::{ProgressBar, ProgressStyle};

/// Shows on a terminal how far it has come, where that is wanted: what `look`
/// says of the bytes that are done, and of all of them.
pub fn show(wanted: bool, look: impl Fn() -> (u64, u64) + Send + 'static) -> ProgressBar {
    if !wanted || !std::io::stderr().is_terminal() {
        return ProgressBar::hidden();
    }
    let bar = ProgressBar::new(0);
    let style = "{bar:40} {bytes} of {total_bytes}, {bytes_per_sec}, {eta} left";
    if let Ok(style) = ProgressStyle::with_template(style) {
        bar.set_style(style);
    }
    let shown = bar.clone();
    thread::spawn(move || {
        while !shown.is_finished() {
            let (done, total) = look();
            shown.set_length(total);
            shown.set_position(done);
            thread::sleep(Duration::from_millis(100));
        }
    });
    bar
}
