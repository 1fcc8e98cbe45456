# Two clusters on one host, each with its own daemon, archive and catalog
# guests: debian module
# nodes: db s3
start_all()
wait_for_stores(s3)
install_package(db)
CLUSTERS = {"main": 5432, "second": 5433}

with subtest("both are bound"):
    if not IS_NIXOS:  # There nixos/two_clusters.nix has both.
        db.succeed("pg_createcluster 17 second -p 5433 --start 2>&1", timeout=60)
    for name, port in CLUSTERS.items():
        data = f"/var/lib/postgresql/17/{name}"
        staging = f"/var/lib/walkeep/{name}/staging"
        db.succeed(f"install -d -o walkeep -g postgres -m 2770 /var/lib/walkeep/{name} {staging}")
        write_config(db, name=name, cluster=name, data=data, staging=staging, port=port)
        wait_for_postgres(db, port=port)
        role_for_daemon(db, port)
        db.succeed(f"walkeep --cluster {name} init --apply 2>&1")
        db.succeed(f"systemctl restart postgresql@17-{name}.service")
        wait_for_postgres(db, port=port)
        if not IS_NIXOS:
            db.succeed(f"systemctl enable walkeep@{name}.service walkeep-verify@{name}.timer 2>&1")
        db.succeed(f"systemctl restart walkeep@{name}.service walkeep-verify@{name}.timer")
        db.wait_for_unit(f"walkeep@{name}.service", timeout=20)

with subtest("each ships to its own archive"):
    for name, port in CLUSTERS.items():
        psql(db, "create table t (i int)", port)
        wait_stored(s3, switch_wal(db, port), prefix=name)
        db.succeed(f"test -e /var/lib/walkeep/{name}/catalog.redb")
    # Nobody asked for the one of a host with a single cluster.
    db.fail("test -e /var/lib/walkeep/catalog.redb")

with subtest("jobs are each cluster's own"):
    for name in CLUSTERS:
        db.succeed(f"systemctl start walkeep-full-backup@{name}.service", timeout=90)
        t.assertEqual(len(db.succeed(f"walkeep --cluster {name} --json backup list").splitlines()), 1)
        db.succeed(f"systemctl start walkeep-verify@{name}.service", timeout=60)

with subtest("one's failure is told by its own configuration, and disturbs no other"):
    db.succeed("systemctl stop postgresql@17-second.service")
    db.fail("systemctl start walkeep-backup@second.service", timeout=90)
    db.wait_until_succeeds("grep -qs 'FAILED: walkeep-backup@second.service' /var/lib/walkeep/told.jsonl")
    db.succeed("grep 'FAILED: walkeep-backup@second' /var/lib/walkeep/told.jsonl | grep -c '\"cluster\":\"second\"'")
    wait_stored(s3, switch_wal(db, 5432), prefix="main")
