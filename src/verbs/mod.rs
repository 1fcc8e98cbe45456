//! One verb a file: arguments, flow, output. Only verbs print to stdout.

mod alerts;
mod backup;
mod caller;
mod catalog;
mod check;
mod colour;
mod command;
mod completions;
#[cfg(feature = "demo")]
mod demo;
mod drill;
mod extract;
mod gap;
mod init;
mod interrupt;
mod man;
mod progress;
mod prune;
mod report;
mod restore;
mod run;
mod scratch;
mod setup;
mod ship;
mod status;
mod this_cluster;
mod verify;
mod wal_fetch;
mod wal_list;
mod wal_prefetch;
mod wal_push;
mod wal_receive;

use std::io;

pub use caller::Caller;
use caller::{NO, USAGE};
pub use setup::{Host, block_on};

use crate::serve::alerts::counted;

use crate::{
    cli::{Alerts, Backup, Catalog, Cli, Gap, Verb, Wal},
    config::ConfigError,
};

/// Runs the verb and answers with the exit code.
pub fn run(cli: Cli) -> anyhow::Result<u8> {
    let global = &cli.global;
    match cli.verb {
        #[cfg(feature = "demo")]
        Verb::Demo(args) => demo::run(&args, global.json),
        Verb::Init(args) => init::run(global, &args),
        Verb::Check(args) => check::run(global, &args),
        Verb::Wal(Wal::Push { path }) => wal_push::run(&Host::load(global)?, &path),
        Verb::Wal(Wal::Fetch(fetch)) => wal_fetch::run(global, &fetch),
        Verb::Wal(Wal::Prefetch(prefetch)) => wal_prefetch::run(global, &prefetch),
        Verb::Wal(Wal::Receive { parent, command }) => wal_receive::run(parent, &command),
        Verb::Wal(Wal::List(list)) => wal_list::run(&Host::load(global)?, &list),
        Verb::Ship => ship::run(&Host::load(global)?),
        Verb::Run { no_schedule } => run::run(global, no_schedule),
        Verb::Backup(Backup::Create { full }) => backup::run_create(&Host::load(global)?, full),
        Verb::Backup(Backup::Import { path }) => backup::run_import(&Host::load(global)?, &path),
        Verb::Backup(Backup::List) => backup::run_list(&Host::load(global)?),
        Verb::Backup(Backup::Show { id }) => backup::run_show(&Host::load(global)?, &id),
        Verb::Backup(Backup::Delete { ids, consent }) => {
            prune::run_delete(&Host::load(global)?, &ids, consent)
        }
        Verb::Prune(arguments) => prune::run(&Host::load(global)?, arguments.consent),
        Verb::Restore(restore) => restore::run(global, &restore),
        Verb::Drill(drill) => drill::run(global, &drill),
        Verb::Extract(extract) => extract::run(global, &extract),
        Verb::Verify(arguments) => verify::run(global, arguments),
        Verb::Gap(Gap::Ack { name, all }) => gap::run_ack(&Host::load(global)?, name, all),
        Verb::Status { watch } => status::run(&Host::load(global)?, watch),
        Verb::Alerts { what: None } => alerts::run_list(&Host::load(global)?),
        Verb::Alerts {
            what: Some(Alerts::Ack { id }),
        } => alerts::run_ack(&Host::load(global)?, &id),
        Verb::Alerts {
            what: Some(Alerts::Failed { unit }),
        } => alerts::run_failed(global, &unit),
        Verb::Alerts {
            what: Some(Alerts::Test { sink }),
        } => alerts::run_test(&Host::load(global)?, &sink),
        Verb::Report => report::run(&Host::load(global)?),
        Verb::Catalog(Catalog::Rebuild { store }) => {
            catalog::run_rebuild(&Host::load(global)?, store.as_deref())
        }
        Verb::Catalog(Catalog::Export) => catalog::run_export(&Host::load(global)?),
        Verb::Completions { shell } => completions::run(shell),
        Verb::Man { verb } => man::run(&verb),
    }
}

/// The exit code of a verb that failed with `error`.
pub fn exit_code(error: &anyhow::Error) -> u8 {
    if error.downcast_ref::<ConfigError>().is_some() {
        USAGE
    } else {
        1
    }
}

/// Whether the verb failed because its reader has gone away, as in
/// `walkeep wal list | head`.
pub fn is_broken_pipe(error: &anyhow::Error) -> bool {
    error.chain().any(|cause| {
        cause
            .downcast_ref::<io::Error>()
            .is_some_and(|error| error.kind() == io::ErrorKind::BrokenPipe)
    })
}

/// Prints the one JSON document of a verb's result.
fn print_json(value: &impl serde::Serialize) -> anyhow::Result<()> {
    use io::Write;
    let mut out = io::stdout().lock();
    serde_json::to_writer_pretty(&mut out, value)?;
    writeln!(out)?;
    Ok(())
}
