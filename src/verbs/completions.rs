//! `walkeep completions`.

use std::io::Write;

use clap::CommandFactory;
use clap_complete::{Shell, generate};

use crate::cli::Cli;

pub(super) fn run(shell: Shell) -> anyhow::Result<u8> {
    let mut text = Vec::new();
    generate(shell, &mut Cli::command(), "walkeep", &mut text);
    std::io::stdout().lock().write_all(&text)?;
    Ok(0)
}
