//! Every kind of store there is, and the suite run over each.

use std::path::PathBuf;

use walkeep::store::{Location, Profile, RetryPolicy, Store};

use crate::{
    suite,
    support::{
        host::TempDir,
        s3::{S3Server, Versitygw},
    },
};

/// One store, and what is known of it besides.
pub struct Place {
    pub store: Store,
    pub profile: Option<Profile>,
    pub server: Option<S3Server>,
    /// Of a store that is a directory.
    directory: TempDir,
}

pub const BUCKET: &str = "bucket";

impl Place {
    fn of(server: S3Server, profile: Profile) -> Self {
        server.create_bucket(BUCKET);
        Place {
            store: open(server.location(profile, BUCKET)),
            profile: Some(profile),
            server: Some(server),
            directory: TempDir::new(),
        }
    }

    /// Whether every version of an object is kept.
    pub fn has_versions(&self) -> bool {
        self.server.as_ref().is_some_and(S3Server::has_versions)
    }

    pub fn is_s3s(&self) -> bool {
        self.server.as_ref().is_some_and(S3Server::is_s3s)
    }

    /// The file that holds an object.
    pub fn object_path(&self, key: &str) -> PathBuf {
        match &self.server {
            Some(server) => server.object_path(BUCKET, key),
            None => self.directory.join(key),
        }
    }

    /// Every file in which bytes of objects are.
    pub fn object_files(&self) -> Vec<PathBuf> {
        match &self.server {
            Some(server) => server.object_files(BUCKET),
            None => {
                let mut files = Vec::new();
                crate::support::s3::collect_files(&self.directory, &mut files);
                files
            }
        }
    }

    /// The same server or disk, where no bucket or directory is.
    pub fn elsewhere(&self) -> Store {
        match (&self.server, self.profile) {
            (Some(server), Some(profile)) => open(server.location(profile, "no-such-bucket")),
            _ => open(Location::Directory(
                self.directory.join("no-such-directory"),
            )),
        }
    }
}

/// A store that asks once.
pub fn open(location: Location) -> Store {
    let name = "test".parse().expect("a name");
    Store::open(name, location, RetryPolicy::ONCE).expect("open the store")
}

fn directory() -> Option<Place> {
    let directory = TempDir::new();
    Some(Place {
        store: open(Location::Directory(directory.path().to_owned())),
        profile: None,
        server: None,
        directory,
    })
}

fn s3s() -> Option<Place> {
    Some(Place::of(S3Server::start_s3s(), Profile::S3))
}

fn versitygw() -> Option<Place> {
    let server = S3Server::start_versitygw(Versitygw::default())?;
    Some(Place::of(server, Profile::S3))
}

fn versitygw_as_r2() -> Option<Place> {
    let server = S3Server::start_versitygw(Versitygw::default())?;
    Some(Place::of(server, Profile::R2))
}

fn versitygw_with_versions() -> Option<Place> {
    let options = Versitygw {
        versioning: true,
        ..Versitygw::default()
    };
    let server = S3Server::start_versitygw(options)?;
    Some(Place::of(server, Profile::S3))
}

fn versitygw_as_b2() -> Option<Place> {
    versitygw_with_versions().map(|place| {
        let server = place.server.as_ref().expect("a server");
        Place {
            store: open(server.location(Profile::B2, BUCKET)),
            profile: Some(Profile::B2),
            ..place
        }
    })
}

macro_rules! over_each_kind {
    ($($check:ident,)*) => {
        over_each_kind! {
            [$($check,)*]
            directory s3s versitygw versitygw_as_r2 versitygw_with_versions versitygw_as_b2
        }
    };
    ($checks:tt $($kind:ident)*) => {
        $(over_each_kind! { @ $kind $checks })*
    };
    (@ $kind:ident [$($check:ident,)*]) => {
        mod $kind {
            $(
                #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
                async fn $check() {
                    if let Some(place) = super::$kind() {
                        super::suite::$check(&place).await;
                    }
                }
            )*
        }
    };
}

over_each_kind! {
    creates_an_object_once,
    lets_one_of_many_create,
    keeps_metadata,
    reads_parts,
    downloads_all_of_it,
    keeps_empty_objects,
    keeps_odd_keys,
    lists_more_than_a_page,
    proves_absence,
    deletes_every_version,
    finds_what_a_marker_hides,
    replaces,
    sends_files,
    refuses_what_was_damaged_on_the_way,
    refuses_keys_that_lead_elsewhere,
    takes_no_missing_bucket_for_absence,
}
