//! The `walkeep` program: runs one verb, prints the error chain once, chooses
//! the exit code.

use std::{
    panic::catch_unwind,
    process::{self, ExitCode},
};

use clap::Parser;
use walkeep::{cli::Cli, logging, verbs};

fn main() -> ExitCode {
    // PostgreSQL gives some exit codes a meaning of its own, and that rule
    // holds before the arguments are understood, and in a panic.
    let caller = verbs::Caller::of(std::env::args_os().skip(1));
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            let _ = error.print();
            let code = if error.use_stderr() {
                caller.usage_error()
            } else {
                0
            };
            return ExitCode::from(code);
        }
    };
    logging::start(cli.global.verbose, cli.global.quiet);
    let outcome = catch_unwind(|| verbs::run(cli));
    let code = match outcome {
        Ok(Ok(code)) => caller.answer(code),
        Ok(Err(error)) => {
            // A reader that has gone away (`walkeep wal list | head`) is no
            // failure to speak of.
            if !verbs::is_broken_pipe(&error) {
                tracing::error!("{error:#}");
            }
            caller.failure(verbs::exit_code(&error))
        }
        Err(_) => caller.panic(),
    };
    // Not by return: a blocked thread of the runtime must not hold up the
    // answer to PostgreSQL.
    process::exit(i32::from(code))
}
