use super::*;

const ALONE: [(&str, &str); 11] = [
    ("PGDATA", "/pg/data"),
    ("PG_WAL_ARCHIVE_DIR", "/pg/archive"),
    ("R2_ACCOUNT_ID", "0123abcd"),
    ("R2_BUCKET_NAME", "r2-bucket"),
    ("R2_ACCESS_KEY_ID", "r2-id"),
    ("R2_SECRET_ACCESS_KEY", "r2-secret"),
    ("B2_BUCKET_NAME", "b2-bucket"),
    ("B2_REGION", "us-east-005"),
    ("B2_ACCESS_KEY_ID", "b2-id"),
    ("B2_SECRET_ACCESS_KEY", "b2-secret"),
    ("WALKEEP_PREFIX", "orders"),
];

#[test]
fn the_environment_alone_is_enough() {
    let config = build("", &ALONE).unwrap();
    assert_eq!(config.path, None);
    assert_eq!(
        config.cluster.data_directory.as_deref(),
        Some(Path::new("/pg/data"))
    );
    assert_eq!(
        config.staging.path.as_deref(),
        Some(Path::new("/pg/archive"))
    );
    // Beside staging: nobody made /var/lib/walkeep here.
    assert_eq!(config.catalog, Path::new("/pg/archive/catalog.redb"));
    assert_eq!(config.fetch.spool, Path::new("/pg/archive/spool"));
    assert_eq!(config.drill.scratch, Path::new("/pg/archive/drill"));
    let names: Vec<_> = config
        .stores
        .iter()
        .map(|store| store.name().as_str())
        .collect();
    assert_eq!(names, ["r2", "b2"]);
    for (index, (profile, endpoint)) in [
        (Profile::R2, "https://0123abcd.r2.cloudflarestorage.com"),
        (Profile::B2, "https://s3.us-east-005.backblazeb2.com"),
    ]
    .into_iter()
    .enumerate()
    {
        let (store, name) = (bucket(&config, index), names[index]);
        assert_eq!(
            (store.profile, store.endpoint.as_str()),
            (profile, endpoint)
        );
        assert_eq!(store.bucket, format!("{name}-bucket"));
        assert_eq!(
            value(&store.credentials.access_key_id),
            format!("{name}-id")
        );
        assert_eq!(
            value(&store.credentials.secret_access_key),
            format!("{name}-secret")
        );
        assert_eq!(config.stores[index].prefix.to_string(), "orders");
    }
}

#[test]
fn one_cloud_in_the_environment_is_enough_and_half_of_one_is_not() {
    let r2 = &ALONE[..6];
    assert_eq!(build("", r2).unwrap().stores.len(), 1);
    assert_eq!(build("", r2).unwrap().stores[0].prefix.to_string(), "main");
    for missing in 2..6 {
        let mut some = r2.to_vec();
        let (name, _) = some.remove(missing);
        let error = build("", &some).unwrap_err().to_string();
        assert!(error.starts_with("store[0] (\"r2\")."), "{name}: {error}");
    }
    let error = build("", &ALONE[..2]).unwrap_err();
    assert!(matches!(error, ConfigError::Missing(_)), "{error}");
    // Set and empty is not set, but for the prefix: that is the root then.
    let error = build("", &[("R2_ACCOUNT_ID", "")]).unwrap_err();
    assert!(matches!(error, ConfigError::Missing(_)), "{error}");
    let mut root = r2.to_vec();
    root.push(("WALKEEP_PREFIX", ""));
    assert_eq!(build("", &root).unwrap().stores[0].prefix.to_string(), "");
}

#[test]
fn the_environment_goes_over_the_file() {
    let text =
        format!("[cluster]\ndata_directory = \"/old\"\n[staging]\npath = \"/old\"\n{R2}{NAS}");
    let config = build(&text, &ALONE).unwrap();
    assert!(config.path.is_some());
    assert_eq!(
        config.cluster.data_directory.as_deref(),
        Some(Path::new("/pg/data"))
    );
    assert_eq!(
        config.staging.path.as_deref(),
        Some(Path::new("/pg/archive"))
    );
    assert_eq!(config.catalog, Path::new("/var/lib/walkeep/catalog.redb"));
    // The file says which stores there are.
    assert_eq!(config.stores.len(), 2);
    let r2 = bucket(&config, 0);
    assert_eq!(r2.bucket, "r2-bucket");
    assert_eq!(value(&r2.credentials.access_key_id), "r2-id");
    assert_eq!(value(&r2.credentials.secret_access_key), "r2-secret");
    for store in &config.stores {
        assert_eq!(store.prefix.to_string(), "orders");
    }
    let config = build(&text, &[("R2_BUCKET_NAME", "other")]).unwrap();
    assert_eq!(bucket(&config, 0).bucket, "other");
    assert_eq!(config.staging.path.as_deref(), Some(Path::new("/old")));
    let Secret::File(path) = &bucket(&config, 0).credentials.access_key_id else {
        panic!("the file's key is gone");
    };
    assert_eq!(path, Path::new("/run/keys/id"));
}
