//! Good drills and bad ones, from each store in turn.

use std::fs;

use super::{configure, drill, is_clean, kept, world::World};

#[test]
fn each_store_is_drilled_in_its_turn_and_a_bad_one_fails() {
    let world = World::new();
    let cluster = &world.cluster;
    cluster.sql(
        "CREATE TABLE accounts AS SELECT i, md5(i::text) AS word FROM generate_series(1, 1000) i; \
         CREATE INDEX ON accounts (i)",
    );
    cluster.sql("CREATE DATABASE other");
    let backup = world.backup();
    cluster.sql("INSERT INTO accounts SELECT i, '' FROM generate_series(1001, 1500) i");
    let before: String = cluster.value("SELECT clock_timestamp()::text");
    cluster.sql("INSERT INTO accounts VALUES (1501, '')");
    let after: String = cluster.value("SELECT clock_timestamp()::text");
    world.ship();
    let file = world.site.path("drill.sql");
    fs::write(&file, "SELECT 'one';\nSELECT 2, NULL, 'three';\n").unwrap();
    configure(
        &world,
        &format!(
            "checks = [\"select count(*) from accounts\", \
             \"select max(i) > 1400 from accounts\"]\nfile = \"{}\"",
            file.display()
        ),
    );

    // Good, from one store and then from the other.
    for store in ["one", "two"] {
        let (said, _) = drill(&world, &[], 0);
        assert_eq!(said["store"], store);
        assert_eq!(said["ok"], true);
        assert_eq!(said["backup"], backup["id"]);
        assert_eq!(said["target"], "the end of the WAL");
        let restore = said["restore_seconds"].as_f64().unwrap();
        let rto = said["rto_seconds"].as_f64().unwrap();
        assert!(0.0 < restore && restore < rto && rto < 120.0, "{said}");
        assert!(said["bytes"].as_u64() > said["fetched_bytes"].as_u64());
        let reached = said["last_commit"].as_str().unwrap().to_owned();
        let is_between = format!("SELECT timestamptz '{reached}' BETWEEN '{before}' AND '{after}'");
        assert!(cluster.value::<bool>(&is_between), "{reached}");
        let checks = said["checks"].as_array().unwrap();
        let answers: Vec<_> = checks
            .iter()
            .map(|it| it["answer"].as_str().unwrap())
            .collect();
        assert_eq!(answers[..3], ["1501", "t", "one\n2||three"], "{said}");
        let names: Vec<_> = checks
            .iter()
            .map(|it| it["check"].as_str().unwrap())
            .collect();
        let examined = [
            "amcheck of database \"other\"",
            "amcheck of database \"postgres\"",
        ];
        if cluster.server().major >= 14 {
            assert_eq!(names[3..], examined, "{said}");
            assert!(answers[4].contains(" indexes, ") && !answers[4].contains(" 0 tables"));
        }
        is_clean(&world);
    }

    // A store that is down fails its drill, and the other has its turn then.
    world.stores[0].stop();
    let (said, run) = drill(&world, &[], 1);
    assert_eq!(
        (&said["store"], &said["rto_seconds"]),
        (&"one".into(), &().into())
    );
    run.tells("the drill from store \"one\" failed");
    world.stores[0].restart();
    assert_eq!(drill(&world, &[], 0).0["store"], "two");

    // One with damaged packs, whatever the other has.
    world.spoil(0, 200, 50);
    let (said, run) = drill(&world, &[], 1);
    assert_eq!((&said["store"], &said["bytes"]), (&"one".into(), &0.into()));
    run.tells("one");
    assert!(said["error"].as_str().unwrap().contains("one"), "{said}");
    is_clean(&world);

    // As asked for, to an earlier moment.
    let (said, _) = drill(&world, &["--store", "two", "--to-time", &before], 0);
    assert_eq!(said["checks"][0]["answer"], "1500");
    // A check that fails, and one that finds nothing.
    fs::write(&file, "SELECT word FROM acounts").unwrap();
    world
        .site
        .reconfigure(|text| text.replace("max(i) > 1400", "max(i) > 2000"));
    let (said, run) = drill(&world, &["--store", "two"], 1);
    let passed: Vec<_> = said["checks"]
        .as_array()
        .unwrap()
        .iter()
        .map(|it| &it["ok"])
        .collect();
    assert_eq!(passed[..3], [true, false, false], "{said}");
    assert!(said["rto_seconds"].as_f64().is_some());
    run.tells("relation \"acounts\" does not exist")
        .tells("select max(i) > 2000 from accounts; ")
        .tells("the scratch cluster's log ends so:")
        .tells("LOG:");

    // All of it is kept, and nothing of it reached the living cluster.
    let kept = kept(&world);
    let turns: Vec<_> = kept.iter().map(|it| (it.store.as_str(), it.ok)).collect();
    let expected = [
        ("one", true),
        ("two", true),
        ("one", false),
        ("two", true),
        ("one", false),
        ("two", true),
        ("two", false),
    ];
    assert_eq!(turns, expected);
    assert_eq!(serde_json::to_value(&kept[6]).unwrap(), said);
    assert!(kept.is_sorted_by_key(|it| it.begun) && kept.iter().all(|it| it.begun < it.ended));
    world
        .site
        .walkeep(&["wal", "list", "--files"])
        .expect(0)
        .says_not("00000002");
    is_clean(&world);

    // Who did what is told.
    let trail = fs::read_to_string(world.site.path("catalog/audit.jsonl")).unwrap();
    let deeds = |what: &str| trail.matches(&format!("\"what\":\"{what}\"")).count();
    let once = ["initialized", "backed-up"].map(deeds);
    assert_eq!((once, deeds("drilled")), ([1, 1], 7), "{trail}");
    assert!(deeds("pushed") > 0 && deeds("shipped") >= 2 * deeds("pushed"));

    // For people; and what cannot be done at all is no drill.
    let said = world
        .site
        .walkeep(&["drill", "--store", "two", "--immediate"]);
    said.expect(1)
        .says("drill     from store \"two\": failed")
        .says("failed    select max(i) > 2000 from accounts: f")
        .says(" s (RTO)");
    world
        .site
        .walkeep(&["drill", "--store", "three"])
        .expect(2)
        .tells("there is no store \"three\"");
    fs::remove_file(&file).unwrap();
    world
        .site
        .walkeep(&["drill"])
        .expect(2)
        .tells("drill.file")
        .tells(&file.display().to_string());
    assert_eq!(self::kept(&world).len(), 8);
}

#[test]
fn an_index_that_disagrees_with_its_table_fails_a_drill() {
    let world = World::new();
    // As PostgreSQL's own tests of amcheck make one: the order changes under it.
    world.cluster.sql(
        "CREATE FUNCTION fickle(a int, b int) RETURNS int LANGUAGE sql IMMUTABLE \
         AS 'SELECT pg_catalog.btint4cmp(a, b)'; \
         CREATE OPERATOR CLASS fickle_ops FOR TYPE int4 USING btree AS \
         OPERATOR 1 < (int4, int4), OPERATOR 2 <= (int4, int4), OPERATOR 3 = (int4, int4), \
         OPERATOR 4 >= (int4, int4), OPERATOR 5 > (int4, int4), FUNCTION 1 fickle(int, int); \
         CREATE TABLE kept AS SELECT i FROM generate_series(1, 1000) i; \
         CREATE INDEX kept_i ON kept USING btree (i fickle_ops); \
         CREATE OR REPLACE FUNCTION fickle(a int, b int) RETURNS int LANGUAGE sql IMMUTABLE \
         AS 'SELECT - pg_catalog.btint4cmp(a, b)'",
    );
    world.backup();
    world.ship();
    let (said, run) = drill(&world, &[], 1);
    run.tells("amcheck of database \"postgres\"");
    let answer = said["checks"][0]["answer"].as_str().unwrap();
    assert!(
        answer.contains("kept_i: item order invariant violated"),
        "{said}"
    );
    configure(&world, "amcheck = false");
    drill(&world, &[], 0);
    is_clean(&world);
}
