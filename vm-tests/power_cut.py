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


def write_back_without_flush():
    """The disk always has something in its cache that nobody flushed."""
    db.succeed(
        "echo 10 > /proc/sys/vm/dirty_expire_centisecs; echo 10 > /proc/sys/vm/dirty_writeback_centisecs",
        "(while :; do head -c 4M /dev/urandom > /var/tmp/noise; sleep 0.2; done >/dev/null 2>&1 &)",
    )



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
            write_back_without_flush()
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
    # Durably: a cut power takes back a rename as well.
    db.succeed(f"systemctl stop {PG_UNIT}", f"mv {PGDATA} {PGDATA}.old", "sync")
    restore = f"walkeep restore {PGDATA} --action promote"
    write_back_without_flush()
    db.succeed(f"(cd /tmp; setsid {restore} >/dev/null 2>&1 &)", "sleep 0.5")
    db.crash()
    db.start()
    # What is there of it is no cluster, and PostgreSQL does not take it for one.
    db.succeed(f"systemctl stop {PG_UNIT}; systemctl reset-failed {PG_UNIT} || true")
    if IS_NIXOS:
        # Where nothing was there yet, NixOS has made a new cluster at boot.
        db.succeed(f"test -e {PGDATA}/walkeep.restore.json || rm -rf {PGDATA}")
    db.succeed(f"{restore} 2>&1", timeout=120)
    db.succeed(f"systemctl start {PG_UNIT}", timeout=60)
    wait_for_query(db, "select not pg_is_in_recovery()", timeout=60)
    t.assertEqual(psql(db, "select count(*) from kept"), rows)
