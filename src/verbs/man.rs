//! `walkeep man`.

use std::io::Write;

use clap::CommandFactory;
use clap_mangen::Man;

use super::USAGE;
use crate::cli::Cli;

pub(super) fn run(verb: &[String]) -> anyhow::Result<u8> {
    // `help` beside each verb is clap's own, and would have a page too.
    let mut all = Cli::command().disable_help_subcommand(true);
    all.build();
    let mut command = &all;
    for word in verb {
        let visible = |it: &&clap::Command| it.get_name() == word && !it.is_hide_set();
        let Some(found) = command.get_subcommands().find(visible) else {
            let words = verb.join(" ");
            tracing::error!("there is no verb \"{words}\"; `walkeep help` lists them");
            return Ok(USAGE);
        };
        command = found;
    }
    let mut page = Vec::new();
    Man::new(command.clone()).render(&mut page)?;
    std::io::stdout().lock().write_all(&page)?;
    Ok(0)
}
