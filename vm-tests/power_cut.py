# The power is cut in the middle of push, ship, backup and restore
# guests: nixpkgs
# nodes: db s3
# backends: qemu
# seconds: 240
start_all()
wait_for_stores(s3)
set_up(db)
back_up(db)
psql(db, "create table kept (i int)")

# In the background, told to nobody: what is going on when the lights go out.
BUSY = {
    "push and ship": "while :; do psql -XAtqc \"insert into kept select 1; select pg_switch_wal()\" postgres; done",
    "backup": "walkeep backup create --full",
}
for what, command in BUSY.items():
    for time in range(2):
        with subtest(f"power cut during {what}, {time + 1}"):
            fill(db)
            before = int(psql(db, "select count(*) from kept"))
            db.succeed(f"(cd /tmp; setsid runuser -u postgres -- bash -c '{command}' >/dev/null 2>&1 &)")
            db.sleep(1)
            archived = psql(db, "select coalesce(last_archived_wal, '') from pg_stat_archiver")
            db.crash()
            db.start()
            wait_for_postgres(db, timeout=90)
            t.assertGreaterEqual(int(psql(db, "select count(*) from kept")), before)
            db.wait_for_unit("walkeep.service", timeout=60)
            # What PostgreSQL was told is archived is somewhere.
            wait_stored(s3, archived, timeout=60)
            name = switch_wal(db)
            wait_stored(s3, name, timeout=60)
            t.assertEqual(psql(db, "select count(*) from pg_stat_archiver where last_failed_time > last_archived_time"), "0")

with subtest("nothing is missing, and a backup is whole"):
    back_up(db)
    db.succeed("walkeep verify --deep >&2", timeout=120)

with subtest("power cut during a restore: the next one goes on"):
    rows = psql(db, "select count(*) from kept")
    wait_stored(s3, switch_wal(db), timeout=60)
    db.succeed("install -d -o postgres -m 700 /var/lib/postgresql/back")
    restore = "walkeep restore /var/lib/postgresql/back --action promote"
    db.succeed(f"(cd /tmp; setsid {restore} >/dev/null 2>&1 &)", "sleep 0.5")
    db.crash()
    db.start()
    wait_for_postgres(db, timeout=90)
    db.succeed(f"{restore} 2>&1", timeout=120)
    db.succeed("grep -q . /var/lib/postgresql/back/PG_VERSION", f"systemctl stop {PG_UNIT}")
    db.succeed(f"mv {PGDATA} {PGDATA}.old; mv /var/lib/postgresql/back {PGDATA}", f"systemctl start {PG_UNIT}")
    wait_for_query(db, "select not pg_is_in_recovery()", timeout=60)
    t.assertEqual(psql(db, "select count(*) from kept"), rows)
