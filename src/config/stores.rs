//! One `[[store]]` table, checked and turned into where a store is.

use super::{
    file::{Store as Table, StoreType},
    wrong::{self, Wrong, secret, wrong},
};
use crate::{
    layout::Prefix,
    store::{Credentials, Location, Profile, S3Settings, StoreName, Timeouts},
};

/// Cloudflare R2's standard storage, in dollars for a terabyte and month:
/// $0.015 per GB-month (<https://developers.cloudflare.com/r2/pricing/>, as
/// cited in 2024 and 2025).
const R2_STORAGE: f64 = 15.0;
/// Backblaze B2's: $6 per TB and month (<https://www.backblaze.com/cloud-storage/pricing>,
/// as cited in April 2026).
const B2_STORAGE: f64 = 6.0;

/// A store, and where in it the archive lies.
#[derive(Debug, Clone)]
pub struct StoreSettings {
    name: StoreName,
    /// Bucket or directory.
    pub location: Location,
    /// What the archive's keys begin with.
    pub prefix: Prefix,
    /// What a terabyte (10^12 bytes) costs there for a month, in dollars; none
    /// where that is not known.
    pub price_storage: Option<f64>,
}

impl StoreSettings {
    /// The store's name.
    pub fn name(&self) -> &StoreName {
        &self.name
    }
}

pub(super) fn check(mut table: Table, cluster: &str) -> Result<StoreSettings, Wrong> {
    let told = |key, error: &dyn std::fmt::Display| wrong(key, error.to_string());
    let name = table.name.parse().map_err(|error| told("name", &error))?;
    if table.name == "staging" {
        // What is said of a file names where it is, one or the other.
        return Err(wrong(
            "name",
            "\"staging\" is where files wait; call the store something else",
        ));
    }
    let prefix = table.prefix.take().unwrap_or_else(|| cluster.to_owned());
    let prefix = prefix.parse().map_err(|error| told("prefix", &error))?;
    let price_storage = table.price_storage.or(match table.kind {
        StoreType::R2 => Some(R2_STORAGE),
        StoreType::B2 => Some(B2_STORAGE),
        StoreType::S3 | StoreType::Directory => None,
    });
    if price_storage.is_some_and(|price| !(0.0..=1e6).contains(&price)) {
        let problem = "no price: dollars for a terabyte and month, such as 15.0";
        return Err(wrong("price_storage", problem));
    }
    let location = match table.kind {
        StoreType::Directory => {
            Location::Directory(table.path.take().ok_or_else(|| missing("path"))?)
        }
        StoreType::R2 => Location::S3(r2(&mut table)?),
        StoreType::B2 => Location::S3(b2(&mut table)?),
        StoreType::S3 => Location::S3(s3(&mut table)?),
    };
    refuse_rest(&table)?;
    Ok(StoreSettings {
        name,
        location,
        prefix,
        price_storage,
    })
}

/// <https://developers.cloudflare.com/r2/api/s3/api/>: the region is `auto`.
fn r2(table: &mut Table) -> Result<S3Settings, Wrong> {
    let endpoint = match (table.endpoint.take(), table.account_id.take()) {
        (Some(endpoint), _) => endpoint,
        (None, Some(account)) => {
            let account = host_label("account_id", account)?;
            match table.jurisdiction.take() {
                Some(place) => {
                    let place = host_label("jurisdiction", place)?;
                    format!("https://{account}.{place}.r2.cloudflarestorage.com")
                }
                None => format!("https://{account}.r2.cloudflarestorage.com"),
            }
        }
        (None, None) => return Err(missing("account_id")),
    };
    settings(table, Profile::R2, endpoint, "auto".to_owned())
}

/// <https://www.backblaze.com/docs/cloud-storage-call-the-s3-compatible-api>.
fn b2(table: &mut Table) -> Result<S3Settings, Wrong> {
    let region = table.region.take().ok_or_else(|| missing("region"))?;
    let region = host_label("region", region)?;
    let endpoint = table.endpoint.take();
    let endpoint = endpoint.unwrap_or_else(|| format!("https://s3.{region}.backblazeb2.com"));
    settings(table, Profile::B2, endpoint, region)
}

fn s3(table: &mut Table) -> Result<S3Settings, Wrong> {
    let endpoint = table.endpoint.take().ok_or_else(|| missing("endpoint"))?;
    let region = table
        .region
        .take()
        .unwrap_or_else(|| "us-east-1".to_owned());
    settings(table, Profile::S3, endpoint, region)
}

fn settings(
    table: &mut Table,
    profile: Profile,
    endpoint: String,
    region: String,
) -> Result<S3Settings, Wrong> {
    let bucket = table.bucket.take().ok_or_else(|| missing("bucket"))?;
    let access_key_id = secret(
        "access_key_id",
        table.access_key_id.take().map(Into::into),
        table.access_key_id_file.take(),
    )?;
    let secret_access_key = secret(
        "secret_access_key",
        table.secret_access_key.take(),
        table.secret_access_key_file.take(),
    )?;
    Ok(S3Settings {
        profile,
        endpoint,
        region,
        bucket,
        credentials: Credentials {
            access_key_id: access_key_id.ok_or_else(|| missing("access_key_id_file"))?,
            secret_access_key: secret_access_key
                .ok_or_else(|| missing("secret_access_key_file"))?,
        },
        ca_file: table.ca_file.take(),
        allow_http: std::mem::take(&mut table.allow_http),
        timeouts: Timeouts::default(),
    })
}

/// What is left belongs to another type of store.
fn refuse_rest(table: &Table) -> Result<(), Wrong> {
    let left = [
        ("account_id", table.account_id.is_some()),
        ("jurisdiction", table.jurisdiction.is_some()),
        ("region", table.region.is_some()),
        ("endpoint", table.endpoint.is_some()),
        ("path", table.path.is_some()),
        ("bucket", table.bucket.is_some()),
        ("access_key_id", table.access_key_id.is_some()),
        ("access_key_id_file", table.access_key_id_file.is_some()),
        ("secret_access_key", table.secret_access_key.is_some()),
        (
            "secret_access_key_file",
            table.secret_access_key_file.is_some(),
        ),
        ("ca_file", table.ca_file.is_some()),
        ("allow_http", table.allow_http),
    ];
    wrong::refuse_rest(left, "store")
}

/// It becomes a part of a host's name.
fn host_label(key: &str, text: String) -> Result<String, Wrong> {
    let valid = !text.is_empty() && text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-');
    if valid {
        return Ok(text);
    }
    let problem = format!("\"{text}\" cannot be a part of a host's name");
    Err(wrong(key, problem))
}

fn missing(key: &str) -> Wrong {
    wrong::missing(key, "store")
}
