# Disaster, and back to a moment on another machine with only bucket and key
# guests: nixpkgs debian module
# nodes: db other s3
start_all()
wait_for_stores(s3)
set_up(db)

with subtest("a backup, and what came after it"):
    fill(db, "kept", 5000)
    back_up(db)
    psql(db, "insert into kept select generate_series(5001, 6000)")
    moment = psql(db, "select clock_timestamp()")
    db.sleep(1)
    psql(db, "drop table kept")
    psql(db, "select pg_create_restore_point('after')")
    last = switch_wal(db)
    wait_stored(s3, last)

with subtest("the machine is lost"):
    db.crash()

with subtest("another one has the package, a bucket and a key"):
    install_package(other)
    other.succeed(f"systemctl stop {PG_UNIT}")
    write_config(other, staging=None)
    # No staging, no catalog, no clusters but the one that is to come.
    other.succeed(f"rm -rf /var/lib/walkeep/* {PGDATA}")
    other.succeed(f"walkeep restore {PGDATA} --to-time '{moment}' --action promote 2>&1", timeout=90)

with subtest("PostgreSQL's own unit recovers by wal fetch"):
    other.succeed(f"systemctl start {PG_UNIT}", timeout=60)
    wait_for_query(other, "select not pg_is_in_recovery()", timeout=60)
    t.assertEqual(psql(other, "select count(*), max(i) from kept"), "6000|6000")

with subtest("segments were fetched ahead, in the sandbox too"):
    other.succeed("find /var/lib/walkeep/spool -name speeds.json | grep -c .")

with subtest("it takes the old one's place"):
    other.succeed("install -d -o walkeep -g postgres -m 2770 /var/lib/walkeep /var/lib/walkeep/staging")
    write_config(other)
    other.succeed("walkeep init --rearm 2>&1", timeout=60)
    other.succeed(f"systemctl restart {PG_UNIT}")
    wait_for_postgres(other)
    other.succeed("walkeep init --rearm 2>&1", timeout=90)
    other.succeed("systemctl restart walkeep.service")
    wait_stored(s3, switch_wal(other))
    other.succeed("walkeep check 2>&1")
