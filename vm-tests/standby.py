# A standby that follows by the archive alone, and is promoted
# guests: nixpkgs module
# nodes: db other s3
start_all()
wait_for_stores(s3)
set_up(db)
fill(db, "kept", 1000)
back_up(db)

with subtest("a standby is made from the archive, and follows it"):
    install_package(other)
    other.succeed(f"systemctl stop {PG_UNIT}", f"rm -rf {PGDATA}")
    write_config(other)
    said = other.succeed(f"walkeep restore {PGDATA} --standby 2>&1", timeout=90)
    t.assertIn("run `walkeep init` here before it is promoted", said)
    other.succeed(f"systemctl start {PG_UNIT}", timeout=60)
    wait_for_postgres(other)
    # Its own staging directory, for the day when it is the primary. Without its
    # marker the archive would count as unreachable, and it must not be promoted.
    other.succeed("walkeep init 2>&1")
    fill(db, "kept", 500)
    wait_stored(s3, switch_wal(db))
    wait_for_query(other, "select count(*) from kept", "1500", timeout=60)

with subtest("an outage is no end of the WAL to it"):
    s3.block()
    other.sleep(8)
    t.assertEqual(psql(other, "select pg_is_in_recovery()"), "t")
    s3.unblock()
    fill(db, "kept", 10)
    wait_stored(s3, switch_wal(db), timeout=90)
    wait_for_query(other, "select count(*) from kept", "1510", timeout=90)

with subtest("the primary is lost, the standby promoted"):
    db.crash()
    psql(other, "select pg_promote()")
    wait_for_query(other, "select not pg_is_in_recovery()")
    now = psql(other, "select pg_walfile_name(pg_current_wal_lsn())")
    t.assertTrue(now.startswith("00000002"), now)

with subtest("it archives on its own timeline"):
    role = psql(other, "select count(*) from pg_roles where rolname = 'walkeep'")
    t.assertEqual(role, "1")
    other.succeed("walkeep init --rearm 2>&1", timeout=60)
    other.succeed(f"systemctl restart {PG_UNIT}")
    wait_for_postgres(other)
    other.succeed("walkeep init --rearm 2>&1", timeout=90)
    other.succeed("systemctl restart walkeep.service")
    fill(other, "kept", 1)
    name = switch_wal(other)
    t.assertTrue(name.startswith("00000002"), name)
    wait_stored(s3, name, timeout=60)
    s3.succeed(is_stored("00000002.history", 7070))
