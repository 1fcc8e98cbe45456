//! A recovery into a scratch cluster, for the verbs that look into one.

use std::path::PathBuf;

use anyhow::Context;
use tokio::runtime::Runtime;

use super::{
    Host, interrupt,
    restore::{
        carry_out,
        planned::{self, Planned},
        restore_command,
    },
    setup::{PROMPT, runtime},
};
use crate::{
    cli::Global,
    cluster::bin_directory,
    recovery::{
        Restored, Settings,
        finish::PLAN,
        plan::Request,
        scratch::{ScratchCluster, ScratchError},
        settings::Action,
    },
};

/// How a scratch cluster is recovered.
pub(super) struct IntoScratch<'a> {
    pub(super) host: &'a Host,
    pub(super) global: &'a Global,
    /// Ask this store alone.
    pub(super) store: Option<&'a str>,
    pub(super) request: &'a Request,
    /// Whether nobody waits any longer.
    pub(super) stop: &'a dyn Fn() -> bool,
}

impl IntoScratch<'_> {
    /// What the recovery will do.
    pub(super) fn plan(&self) -> anyhow::Result<Planned> {
        let runtime = runtime()?;
        let planned = runtime.block_on(async {
            tokio::select! {
                planned = planned::plan(self.host, self.store, self.request, PROMPT) => planned,
                () = interrupt::until(self.stop) => Err(ScratchError::Interrupted.into()),
            }
        });
        runtime.shutdown_background();
        planned
    }

    /// Restores what is planned into `scratch`, and starts its server, which
    /// recovers then.
    pub(super) fn restore(
        &self,
        planned: &Planned,
        scratch: &mut ScratchCluster,
    ) -> anyhow::Result<Restored> {
        let runtime: Runtime = runtime()?;
        let restored = runtime.block_on(async {
            tokio::select! {
                restored = self.bring(planned, scratch) => restored,
                () = interrupt::until(self.stop) => Err(ScratchError::Interrupted.into()),
            }
        });
        runtime.shutdown_background();
        let restored = restored?;
        scratch.start(&self.bin_directory(planned)?, &planned.manifest)?;
        Ok(restored)
    }

    async fn bring(&self, planned: &Planned, scratch: &ScratchCluster) -> anyhow::Result<Restored> {
        let (plan, manifest) = (&planned.plan, &planned.manifest);
        let destination = scratch.destination(manifest)?;
        let wal = plan.count.saturating_mul(plan.segment_size.bytes());
        destination.check_space(scratch.needed(manifest, wal), &Default::default())?;
        let plan_file = destination.directory.join(PLAN);
        let settings = Settings {
            restore_command: restore_command(self.global, &self.host.config, Some(&plan_file))?,
            target: self.request.target.clone(),
            exclusive: self.request.exclusive,
            timeline: plan.timeline_setting.clone(),
            // Paused, it would hold the locks of transactions that were under
            // way then: of a DROP TABLE, on the table that is wanted.
            action: Action::Promote,
            standby: false,
        };
        tracing::info!(
            "restoring backup {} of {} into a scratch cluster",
            plan.backup.id,
            plan.backup.stopped
        );
        Ok(carry_out(self.host, planned, &destination, &settings).await?)
    }

    fn bin_directory(&self, planned: &Planned) -> anyhow::Result<PathBuf> {
        let major = planned.manifest.postgres_major;
        let cluster = &self.host.config.cluster;
        let found = bin_directory(
            cluster.bin_directory.as_deref(),
            cluster.data_directory.as_deref(),
            Some(major),
        );
        found.with_context(|| {
            format!("find PostgreSQL {major} on this host; name it in cluster.bin_directory")
        })
    }
}
