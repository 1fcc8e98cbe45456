//! The text of a new configuration file.

use std::{fmt::Write, path::PathBuf};

/// What is known when the file is written. No `Debug`: it has secrets.
#[derive(Clone)]
pub(super) struct Facts {
    /// The cluster's name.
    pub(super) name: String,
    pub(super) data_directory: Option<PathBuf>,
    pub(super) bin_directory: Option<PathBuf>,
    pub(super) connection: String,
    pub(super) user: Option<String>,
    pub(super) staging: PathBuf,
    pub(super) catalog: PathBuf,
    pub(super) spool: PathBuf,
    pub(super) scratch: PathBuf,
    pub(super) ship_concurrency: Option<usize>,
    pub(super) fetch_prefetch: Option<usize>,
    pub(super) stores: Vec<StoreFacts>,
}

/// What is known of one store.
#[derive(Clone)]
pub(super) struct StoreFacts {
    pub(super) name: &'static str,
    /// `r2`, `b2` or `s3`.
    pub(super) kind: &'static str,
    pub(super) account_id: Option<String>,
    pub(super) jurisdiction: Option<String>,
    pub(super) region: Option<String>,
    pub(super) endpoint: Option<String>,
    pub(super) bucket: Option<String>,
    pub(super) prefix: Option<String>,
    pub(super) access_key_id: Option<String>,
    /// The secret itself: it goes into a file beside the configuration.
    pub(super) secret: Option<String>,
    /// That file, once it is known.
    pub(super) secret_file: Option<PathBuf>,
}

impl StoreFacts {
    /// A store of which only name and type are known.
    pub(super) fn of(name: &'static str, kind: &'static str) -> Self {
        StoreFacts {
            name,
            kind,
            account_id: None,
            jurisdiction: None,
            region: None,
            endpoint: None,
            bucket: None,
            prefix: None,
            access_key_id: None,
            secret: None,
            secret_file: None,
        }
    }

    /// The keys that a store of this type cannot do without, with what an
    /// example would say.
    fn needed(&self) -> Vec<(&'static str, Option<&str>)> {
        let place = match self.kind {
            "r2" if self.endpoint.is_some() => None,
            "r2" => Some(("account_id", self.account_id.as_deref())),
            "b2" => Some(("region", self.region.as_deref())),
            _ => Some(("endpoint", self.endpoint.as_deref())),
        };
        let mut needed: Vec<_> = place.into_iter().collect();
        needed.push(("bucket", self.bucket.as_deref()));
        needed.push(("access_key_id", self.access_key_id.as_deref()));
        let file = self.secret_file.as_deref().and_then(|path| path.to_str());
        needed.push(("secret_access_key_file", file));
        needed
    }

    /// Those that the type has besides.
    fn others(&self) -> [(&'static str, Option<&str>); 4] {
        let endpoint = self.endpoint.as_deref().filter(|_| self.kind != "s3");
        let region = self.region.as_deref().filter(|_| self.kind == "s3");
        [
            ("jurisdiction", self.jurisdiction.as_deref()),
            ("region", region),
            ("endpoint", endpoint),
            ("prefix", self.prefix.as_deref()),
        ]
    }

    fn write(&self, text: &mut String) {
        text.push_str("\n[[store]]\n");
        line(text, true, "name", &quoted(self.name));
        line(text, true, "type", &quoted(self.kind));
        for (key, value) in self.needed() {
            match value {
                Some(value) => line(text, true, key, &quoted(value)),
                None => line(text, false, key, "\"…\"              # to be filled in"),
            }
        }
        for (key, value) in self.others() {
            if let Some(value) = value {
                line(text, true, key, &quoted(value));
            }
        }
    }
}

/// The whole file. The same facts give the same text.
pub(super) fn render(facts: &Facts) -> String {
    let mut text = String::from(HEAD);
    let path = |path: &Option<PathBuf>, otherwise: &str| {
        let known = path.as_deref().and_then(|path| path.to_str());
        (known.is_some(), quoted(known.unwrap_or(otherwise)))
    };
    text.push_str("\n[cluster]\n");
    line(&mut text, true, "name", &quoted(&facts.name));
    let (known, value) = path(&facts.data_directory, "/var/lib/postgresql/17/main");
    line(&mut text, known, "data_directory", &value);
    let (known, value) = path(&facts.bin_directory, "/usr/lib/postgresql/17/bin");
    line(&mut text, known, "bin_directory", &value);
    line(&mut text, true, "connection", &quoted(&facts.connection));
    let user = facts.user.as_deref();
    text.push_str(
        "# Whom walkeep becomes when root starts it. Default: the data directory's owner.\n",
    );
    line(
        &mut text,
        user.is_some(),
        "user",
        &quoted(user.unwrap_or("postgres")),
    );

    text.push_str(STAGING);
    line(&mut text, true, "path", &display(&facts.staging));
    text.push_str(STAGING_REST);
    text.push_str("\n[catalog]\n");
    line(&mut text, true, "path", &display(&facts.catalog));
    text.push_str("\n[ship]\n# Files at once.\n");
    let concurrency = facts.ship_concurrency;
    let value = concurrency.unwrap_or(2).to_string();
    line(&mut text, concurrency.is_some(), "concurrency", &value);
    text.push_str("# Bytes per second over all stores; 0 is no limit.\n");
    line(&mut text, false, "rate_limit", "\"0\"");
    text.push_str("\n[fetch]\n");
    line(&mut text, true, "spool", &display(&facts.spool));
    text.push_str("# Files fetched ahead during recovery.\n");
    let prefetch = facts.fetch_prefetch;
    let value = prefetch.unwrap_or(8).to_string();
    line(&mut text, prefetch.is_some(), "prefetch", &value);
    text.push_str("# How long a store that cannot be reached is asked again.\n");
    line(&mut text, false, "timeout", "\"5m\"");
    text.push_str("\n[drill]\n# Where clusters and files are made that are needed for a while.\n");
    line(&mut text, true, "scratch", &display(&facts.scratch));

    text.push_str(DRILL_REST);
    text.push_str(RETENTION);
    text.push_str(SERVE);
    text.push_str(SCHEDULE);
    text.push_str(ALERTS);
    text.push_str(STREAM);
    text.push_str(STORES);
    for store in &facts.stores {
        store.write(&mut text);
    }
    if facts.stores.is_empty() {
        text.push_str(EXAMPLES);
    }
    text
}

fn line(text: &mut String, active: bool, key: &str, value: &str) {
    let mark = if active { "" } else { "# " };
    // A String takes everything.
    let _ = writeln!(text, "{mark}{key} = {value}");
}

fn quoted(text: &str) -> String {
    toml::Value::String(text.to_owned()).to_string()
}

fn display(path: &std::path::Path) -> String {
    quoted(&path.to_string_lossy())
}

const HEAD: &str = "\
# walkeep: where this cluster's write-ahead log goes.
# `walkeep init` makes the archive, `walkeep check` examines it.
# A line that begins with # says the default, or an example.
";

const STAGING: &str = "
# Where a file is durable before PostgreSQL is told that it is archived, and
# where it waits until every store has it. Best on a volume of its own.
[staging]
";

const STAGING_REST: &str = "\
# When it is full, PostgreSQL keeps its WAL: nothing is dropped.
# max_size = \"20GiB\"
# Above this share, what min_copies stores hold is released while another is down.
# high_water = \"80%\"
# min_copies = 1
# staged: as soon as it survives a power cut here; losing this host then loses
# what is not shipped yet. one-store, all-stores: PostgreSQL waits for them.
# acknowledge = \"staged\"
";

const RETENTION: &str = "
# What `walkeep prune` keeps: whatever any moment of the window needs, and at
# least so many backups. local_window keeps WAL in staging as well.
[retention]
# window = \"30d\"
# min_backups = 2
# local_window = \"0d\"
";

const SERVE: &str = "
# Where `walkeep run` shows its page, its metrics and its health; \"off\": nowhere.
[serve]
# listen = \"127.0.0.1:9847\"
# Needed where other hosts can reach it.
# token_file = \"/etc/walkeep/page.token\"
";

const DRILL_REST: &str = "\
# SQL that a drill's recovered cluster has to answer; false is a failure.
# checks = [\"select count(*) from accounts\"]
";

const SCHEDULE: &str = "
# What `walkeep run` does by itself; systemd timers may do it instead. Without
# a line here it ships, and nothing else.
[schedule]
# backup = \"daily 02:00\"
# full_backup = \"weekly sun 03:00\"
# verify = \"hourly\"
# deep_verify = \"weekly\"
# drill = \"weekly\"
# prune = \"daily\"
";

const ALERTS: &str = "
# Who is told when something needs a person; `walkeep alerts test NAME` tries it.
# [alerts]
# heartbeat_url = \"…\"               # called only while all is well
# [[alerts.sink]]
# type = \"webhook\"                  # webhook | slack | smtp | command
# url_file = \"…\"
";

const STREAM: &str = "
# The segment that is still being written, too: with the host goes what was
# written in the last interval. Set max_slot_wal_keep_size in PostgreSQL.
[stream]
# enabled = true
# interval = \"10s\"
";

const STORES: &str = "
# Every file goes to every store. A bucket per host is best: R2's tokens reach
# whole buckets. A file with a secret must not be readable by others.
";

const EXAMPLES: &str = "
# [[store]]
# name = \"r2\"
# type = \"r2\"
# account_id = \"…\"
# bucket = \"…\"
# prefix = \"main\"                     # default: the cluster's name
# access_key_id = \"…\"
# secret_access_key_file = \"/etc/walkeep/r2.secret\"

# [[store]]
# name = \"b2\"
# type = \"b2\"
# region = \"us-east-005\"
# bucket = \"…\"
# access_key_id = \"…\"
# secret_access_key_file = \"/etc/walkeep/b2.secret\"
";
