# One store dead, then both, then back
# guests: nixpkgs module
# nodes: db s3
start_all()
wait_for_stores(s3)
set_up(db)
back_up(db)

with subtest("one store is dead: the other gets everything, and nobody waits"):
    s3.succeed("systemctl stop store@7071.service")
    fill(db)
    first = switch_wal(db)
    wait_stored(s3, first, ports=[7070])
    wait_for_query(db, "select last_archived_wal >= '%s' from pg_stat_archiver" % first)
    s3.fail(is_stored(first, 7071))
    t.assertEqual(psql(db, "select failed_count from pg_stat_archiver"), "0")

with subtest("both are unreachable: archiving goes on, WAL waits in staging"):
    s3.block()
    fill(db)
    names = [switch_wal(db) for _ in range(5) if not fill(db)]
    wait_for_query(db, "select last_archived_wal >= '%s' from pg_stat_archiver" % names[-1])
    t.assertEqual(psql(db, "select failed_count from pg_stat_archiver"), "0")
    db.succeed(f"test -e {STAGING}/{names[-1]}")
    db.wait_until_succeeds("! walkeep status >&2", timeout=90)

with subtest("the daemon dies meanwhile"):
    db.succeed("systemctl kill -s KILL walkeep.service")
    db.wait_until_succeeds("systemctl is-active --quiet walkeep.service", timeout=20)

with subtest("both are back: everything is in both"):
    s3.unblock()
    s3.succeed("systemctl start store@7071.service")
    for name in [first, *names]:
        wait_stored(s3, name, timeout=120)
    wait_until_none_waits(db, STAGING, timeout=30)
    db.succeed("walkeep verify 2>&1")
