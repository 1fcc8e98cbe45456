//! `check --roundtrip`: one segment out to every store and back, by the way
//! that every other one takes.

use std::{
    path::Path,
    time::{Duration, Instant},
};

use anyhow::Context;
use futures_util::future::join_all;

use super::findings::{Findings, Severity};
use crate::{
    archive::{
        object,
        place::Place,
        ship::{Goal, Shipping, ship},
        staging::Staging,
    },
    codec::Sha256,
    layout::Format,
    postgres::WalFileName,
    verbs::{Host, block_on, setup::PROMPT, this_cluster::ThisCluster},
};

const SUBJECT: &str = "roundtrip";
/// How long PostgreSQL and the stores may take.
const PATIENCE: Duration = Duration::from_secs(60);
const PAUSE: Duration = Duration::from_millis(200);

pub(super) fn examine(
    host: &Host,
    cluster: Option<&mut ThisCluster>,
    staging: Option<&Staging>,
    findings: &mut Findings,
) {
    if let Err(error) = out_and_back(host, cluster, staging, findings) {
        findings.add(Severity::Loss, SUBJECT, format!("{error:#}"), "see above");
    }
}

fn out_and_back(
    host: &Host,
    cluster: Option<&mut ThisCluster>,
    staging: Option<&Staging>,
    findings: &mut Findings,
) -> anyhow::Result<()> {
    let cluster = cluster.and_then(|cluster| {
        let data = host.config.cluster.data_directory.clone();
        let session = cluster.session.as_mut().ok()?;
        Some((data, session))
    });
    let (Some((data, session)), Some(staging)) = (cluster, staging) else {
        findings.add(
            Severity::Warning,
            SUBJECT,
            "not tried: it takes a running server and a staging directory",
            "see above",
        );
        return Ok(());
    };
    let data = match data {
        Some(data) => data,
        None => session
            .identity()?
            .data_directory
            .context("cluster.data_directory is not set, and the server does not say it")?,
    };
    let begun = Instant::now();
    let text = session.switch_wal()?;
    let name: WalFileName = text.parse()?;
    // The server keeps the segment until it is archived, and for a while more.
    let expected = digest(&data.join("pg_wal").join(&text))?;
    let found = block_on(async {
        let shipping = host.shipping(PROMPT)?;
        send(&shipping, name, begun).await?;
        let walks = shipping.places.iter().map(async |place| {
            let came = come_back(place, staging, name, begun).await;
            (place.name().to_string(), came)
        });
        Ok(join_all(walks).await)
    })?;
    for (store, came) in found {
        let seconds = begun.elapsed().as_secs_f64();
        match came {
            Ok(Some(found)) if found == expected => {
                let what = format!("{text} is in {store} and comes back whole ({seconds:.1} s)");
                findings.ok(SUBJECT, what);
            }
            Ok(Some(found)) => findings.add(
                Severity::Loss,
                SUBJECT,
                format!("{text} comes back from {store} with SHA-256 {found}, not {expected}"),
                "keep this host's WAL, and compare the object with the other store's",
            ),
            Ok(None) => findings.add(
                Severity::Loss,
                SUBJECT,
                format!("{text} is not in {store} after {} s", PATIENCE.as_secs()),
                "see that PostgreSQL archives, and what `walkeep ship` says",
            ),
            Err(error) => {
                let what = format!("{text} from {store}: {error:#}");
                findings.add(Severity::Loss, SUBJECT, what, "look at the store, above");
            }
        }
    }
    Ok(())
}

fn digest(path: &Path) -> anyhow::Result<Sha256> {
    let file = std::fs::File::open(path);
    file.and_then(Sha256::of_reader)
        .with_context(|| format!("read \"{}\"", path.display()))
}

/// Waits until PostgreSQL has archived the segment, and ships it, should
/// nobody else do that.
async fn send(shipping: &Shipping, name: WalFileName, begun: Instant) -> anyhow::Result<()> {
    let path = shipping.staging.path(name);
    let shipped = || Ok::<_, std::io::Error>(shipping.staging.receipts().find(name)?.is_some());
    while !path.exists() && !shipped()? {
        if begun.elapsed() > PATIENCE {
            return Ok(());
        }
        tokio::time::sleep(PAUSE).await;
    }
    let copies = shipping.places.len();
    ship(shipping, Goal::File { name, copies }).await?;
    Ok(())
}

/// Waits for the segment in one store and reads it back: the SHA-256 of its
/// raw bytes, or `None` where it did not come in time.
async fn come_back(
    place: &Place,
    staging: &Staging,
    name: WalFileName,
    begun: Instant,
) -> anyhow::Result<Option<Sha256>> {
    loop {
        for format in Format::ALL {
            let key = place.key(staging.marker().generation, name, format);
            if let Some(found) = object::examine(place, &key).await? {
                return Ok(Some(found.raw_sha256));
            }
        }
        if begun.elapsed() > PATIENCE {
            return Ok(None);
        }
        tokio::time::sleep(PAUSE).await;
    }
}
