//! `walkeep run`.

use super::{
    Host,
    setup::{PROMPT, runtime},
};
use crate::{cli::Global, serve};

pub(super) fn run(global: &Global) -> anyhow::Result<u8> {
    let load = || Host::load(global)?.shipping(PROMPT);
    runtime()?.block_on(serve::run(load))?;
    Ok(0)
}
