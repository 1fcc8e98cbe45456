//! `init --from-env`: the variables of an older set-up, of three families, as
//! settings of ours. Each variable that is not used is named with the reason.

use std::collections::{BTreeMap, BTreeSet};

use url::Url;

use super::template::{Facts, StoreFacts};

/// What came of the environment.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Found {
    /// The variables that are in the configuration now.
    pub(super) used: Vec<String>,
    /// Those that are not, and why.
    pub(super) ignored: Vec<(String, String)>,
}

/// Puts what the environment says over `facts`.
pub(super) fn read(environment: &BTreeMap<String, String>, facts: &mut Facts) -> Found {
    let mut variables = Variables {
        environment,
        used: BTreeSet::new(),
        ignored: BTreeMap::new(),
    };
    cluster(&mut variables, facts);
    let prefix = environment.get("WALKEEP_PREFIX").cloned();
    if prefix.is_some() {
        variables.used.insert("WALKEEP_PREFIX");
    }
    let stores = [r2(&mut variables), b2(&mut variables)];
    facts.stores.extend(stores.into_iter().flatten());
    if let Some(store) = walg(&mut variables, &facts.stores) {
        facts.stores.push(store);
    }
    for store in &mut facts.stores {
        if prefix.is_some() {
            store.prefix.clone_from(&prefix);
        }
    }
    walg_settings(&mut variables, facts);
    variables.finish()
}

struct Variables<'a> {
    environment: &'a BTreeMap<String, String>,
    used: BTreeSet<&'static str>,
    ignored: BTreeMap<String, String>,
}

impl Variables<'_> {
    /// The value of the first of `names` that is set; the others say the same
    /// and are passed over.
    fn first(&mut self, names: &[&'static str]) -> Option<String> {
        let mut found: Option<(&str, String)> = None;
        for name in names {
            let value = self
                .environment
                .get(*name)
                .filter(|value| !value.is_empty());
            let Some(value) = value else { continue };
            match &found {
                None => {
                    self.used.insert(*name);
                    found = Some((name, value.clone()));
                }
                Some((first, _)) => {
                    self.ignore(name, &format!("{first} is taken for it"));
                }
            }
        }
        found.map(|(_, value)| value)
    }

    fn ignore(&mut self, name: &str, reason: &str) {
        if self.environment.contains_key(name) {
            self.ignored.insert(name.to_owned(), reason.to_owned());
        }
    }

    fn finish(mut self) -> Found {
        for (name, reason) in NEVER {
            self.ignore(name, reason);
        }
        for name in self.environment.keys() {
            let ours = FAMILIES.iter().any(|family| name.starts_with(family));
            if ours && !self.used.contains(name.as_str()) && !self.ignored.contains_key(name) {
                let reason = "walkeep has nothing that it could set".to_owned();
                self.ignored.insert(name.clone(), reason);
            }
        }
        Found {
            used: self.used.into_iter().map(str::to_owned).collect(),
            ignored: self.ignored.into_iter().collect(),
        }
    }
}

/// What the variables begin with of which none is passed over silently.
const FAMILIES: [&str; 8] = [
    "R2_",
    "B2_",
    "CLOUDFLARE_R2_",
    "BACKBLAZE_B2_",
    "WALG_",
    "WALE_",
    "AWS_",
    "PG_WAL_ARCHIVE",
];

/// Variables that are known and set nothing.
const NEVER: [(&str, &str); 9] = [
    (
        "WALG_COMPRESSION_METHOD",
        "objects are gzip, which opens without walkeep; compression.format has zstd besides",
    ),
    (
        "WALG_RETAIN_BACKUPS",
        "this version deletes nothing from the stores",
    ),
    ("WALG_DELTA_MAX_STEPS", "this version makes no base backups"),
    ("WALG_LOG_LEVEL", "-v and -q say how much is logged"),
    (
        "WAL_ARCHIVE_LOG",
        "walkeep logs to stderr: PostgreSQL's log, or the journal",
    ),
    (
        "WAL_RESTORE_LOG",
        "walkeep logs to stderr: PostgreSQL's log, or the journal",
    ),
    (
        "AWS_SESSION_TOKEN",
        "temporary keys end while the archive goes on; make a key of its own",
    ),
    (
        "AWS_S3_FORCE_PATH_STYLE",
        "requests are path style everywhere",
    ),
    (
        "PGPASSWORD",
        "a password belongs into cluster.connection of a file that others cannot read",
    ),
];

fn cluster(variables: &mut Variables, facts: &mut Facts) {
    if let Some(directory) = variables.first(&["PGDATA"]) {
        facts.data_directory = Some(directory.into());
    }
    if let Some(directory) = variables.first(&["PG_WAL_ARCHIVE_DIR"]) {
        facts.staging = directory.into();
    }
    let parts = [
        ("host", variables.first(&["PGHOST"])),
        ("port", variables.first(&["PGPORT"])),
        ("user", variables.first(&["PGUSER"])),
        ("dbname", variables.first(&["PGDATABASE"])),
    ];
    if parts.iter().all(|(_, value)| value.is_none()) {
        return;
    }
    let fallback = |name| match name {
        "host" => Some("/run/postgresql".to_owned()),
        "user" | "dbname" => Some("postgres".to_owned()),
        _ => None,
    };
    let parts = parts.into_iter().filter_map(|(name, value)| {
        let value = value.or_else(|| fallback(name))?;
        let plain = value.bytes().all(|b| !b" '\\".contains(&b));
        let quoted = value.replace('\\', "\\\\").replace('\'', "\\'");
        Some(if plain {
            format!("{name}={value}")
        } else {
            format!("{name}='{quoted}'")
        })
    });
    facts.connection = parts.collect::<Vec<_>>().join(" ");
}

fn r2(variables: &mut Variables) -> Option<StoreFacts> {
    let account = variables.first(&["R2_ACCOUNT_ID"]);
    let mut store = StoreFacts {
        bucket: variables.first(&[
            "R2_BUCKET_NAME",
            "CLOUDFLARE_R2_BUCKET_NAME",
            "CLOUDFLARE_R2_BUCKET",
        ]),
        access_key_id: variables.first(&["R2_ACCESS_KEY_ID", "CLOUDFLARE_R2_ACCESS_KEY_ID"]),
        secret: variables.first(&["R2_SECRET_ACCESS_KEY", "CLOUDFLARE_R2_SECRET_ACCESS_KEY"]),
        ..StoreFacts::of("r2", "r2")
    };
    if account.is_some() {
        variables.ignore(
            "CLOUDFLARE_R2_ENDPOINT_URL",
            "R2_ACCOUNT_ID is taken for it",
        );
        store.account_id = account;
    } else if let Some(url) = variables.first(&["CLOUDFLARE_R2_ENDPOINT_URL"]) {
        store.endpoint(&url);
    }
    store.is_named().then_some(store)
}

fn b2(variables: &mut Variables) -> Option<StoreFacts> {
    let region = variables.first(&["B2_REGION"]);
    let mut store = StoreFacts {
        bucket: variables.first(&[
            "B2_BUCKET_NAME",
            "BACKBLAZE_B2_BUCKET_NAME",
            "BACKBLAZE_B2_BUCKET",
        ]),
        access_key_id: variables.first(&["B2_ACCESS_KEY_ID", "BACKBLAZE_B2_KEY_ID"]),
        secret: variables.first(&["B2_SECRET_ACCESS_KEY", "BACKBLAZE_B2_APPLICATION_KEY"]),
        ..StoreFacts::of("b2", "b2")
    };
    if region.is_some() {
        variables.ignore("BACKBLAZE_B2_ENDPOINT_URL", "B2_REGION is taken for it");
        store.region = region;
    } else if let Some(url) = variables.first(&["BACKBLAZE_B2_ENDPOINT_URL"]) {
        store.endpoint(&url);
    }
    store.is_named().then_some(store)
}

/// WAL-G's only store; its second one is a fail-over, not a copy.
fn walg(variables: &mut Variables, others: &[StoreFacts]) -> Option<StoreFacts> {
    let set = |name: &str| variables.environment.contains_key(name);
    if !set("WALG_S3_PREFIX") {
        for name in [
            "AWS_ENDPOINT",
            "AWS_REGION",
            "AWS_ACCESS_KEY_ID",
            "AWS_SECRET_ACCESS_KEY",
        ] {
            variables.ignore(name, "no WALG_S3_PREFIX says which bucket it is for");
        }
        return None;
    }
    let place = variables.first(&["WALG_S3_PREFIX"]).unwrap_or_default();
    let below = place.strip_prefix("s3://").unwrap_or(&place);
    let (bucket, prefix) = below.split_once('/').unwrap_or((below, ""));
    let mut store = StoreFacts {
        bucket: Some(bucket.to_owned()).filter(|bucket| !bucket.is_empty()),
        prefix: Some(prefix.trim_matches('/').to_owned()),
        access_key_id: variables.first(&["AWS_ACCESS_KEY_ID"]),
        secret: variables.first(&["AWS_SECRET_ACCESS_KEY"]),
        ..StoreFacts::of("s3", "s3")
    };
    let region = variables.first(&["AWS_REGION"]);
    let amazon = region.as_deref().unwrap_or("us-east-1");
    let amazon = format!("https://s3.{amazon}.amazonaws.com");
    let url = variables.first(&["AWS_ENDPOINT"]).unwrap_or(amazon);
    store.endpoint(&url);
    if store.kind != "r2" && store.region.is_none() {
        store.region = region;
    }
    // R2_… or B2_… may name the same bucket once more.
    let same = |other: &&StoreFacts| {
        (
            other.kind,
            &other.bucket,
            &other.account_id,
            &other.region,
            &other.endpoint,
        ) == (
            store.kind,
            &store.bucket,
            &store.account_id,
            &store.region,
            &store.endpoint,
        )
    };
    if let Some(other) = others.iter().find(same) {
        let reason = format!("store \"{}\" is that bucket already", other.name);
        for name in [
            "WALG_S3_PREFIX",
            "AWS_ENDPOINT",
            "AWS_REGION",
            "AWS_ACCESS_KEY_ID",
            "AWS_SECRET_ACCESS_KEY",
        ] {
            variables.used.remove(name);
            variables.ignore(name, &reason);
        }
        return None;
    }
    if others.iter().any(|other| other.name == store.name) {
        store.name = "walg";
    }
    Some(store)
}

fn walg_settings(variables: &mut Variables, facts: &mut Facts) {
    let number = |variables: &mut Variables, name: &'static str, most: usize| {
        let text = variables.first(&[name])?;
        let number = text
            .parse()
            .ok()
            .filter(|number| (1..=most).contains(number));
        if number.is_none() {
            variables.used.remove(name);
            variables.ignore(
                name,
                &format!("\"{text}\" is not a number from 1 to {most}"),
            );
        }
        number
    };
    facts.ship_concurrency = number(variables, "WALG_UPLOAD_CONCURRENCY", 64);
    facts.fetch_prefetch = number(variables, "WALG_DOWNLOAD_CONCURRENCY", 64);
}

impl StoreFacts {
    /// From an endpoint's address: R2's account or B2's region where it is
    /// theirs, and a bucket behind it.
    fn endpoint(&mut self, text: &str) {
        let Ok(url) = Url::parse(text) else {
            self.endpoint = Some(text.to_owned());
            return;
        };
        let bucket = url.path().trim_matches('/');
        if self.bucket.is_none() && !bucket.is_empty() {
            self.bucket = Some(bucket.to_owned());
        }
        let host = url.host_str().unwrap_or_default();
        let r2 = host.strip_suffix(".r2.cloudflarestorage.com");
        let b2 = host
            .strip_prefix("s3.")
            .and_then(|host| host.strip_suffix(".backblazeb2.com"));
        if let Some(account) = r2 {
            self.become_a("r2");
            let (account, jurisdiction) = match account.split_once('.') {
                Some((account, jurisdiction)) => (account, Some(jurisdiction.to_owned())),
                None => (account, None),
            };
            self.account_id = Some(account.to_owned());
            self.jurisdiction = jurisdiction;
        } else if let Some(region) = b2 {
            self.become_a("b2");
            self.region = Some(region.to_owned());
        } else {
            self.endpoint = Some(text.split_once('?').map_or(text, |(url, _)| url).to_owned());
        }
    }

    fn become_a(&mut self, kind: &'static str) {
        if self.kind == "s3" {
            (self.kind, self.name) = (kind, kind);
        }
    }

    /// Whether anything says that there is such a store.
    fn is_named(&self) -> bool {
        [
            &self.account_id,
            &self.region,
            &self.endpoint,
            &self.bucket,
            &self.access_key_id,
        ]
        .into_iter()
        .any(Option::is_some)
    }
}
