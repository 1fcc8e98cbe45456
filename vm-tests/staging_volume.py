# The staging volume is full, and is not mounted
# guests: nixpkgs
# nodes: db s3
UNIT = "var-lib-walkeep-staging.mount"
start_all()
wait_for_stores(s3)
install_package(db)
db.succeed(
    f"""cat > /etc/systemd/system/{UNIT} <<'END'
[Mount]
What=tmpfs
Type=tmpfs
Where={STAGING}
Options=size=24m
[Install]
WantedBy=local-fs.target
END""",
    f"systemctl daemon-reload; systemctl enable --now {UNIT}",
    # As at each boot: a new volume is root's.
    "systemd-tmpfiles --create walkeep.conf",
)
write_config(db)
wait_for_postgres(db)
role_for_daemon(db)
db.succeed("walkeep init --apply 2>&1", f"systemctl restart {PG_UNIT}")
wait_for_postgres(db)
db.succeed("systemctl start walkeep.service")
wait_stored(s3, switch_wal(db))

with subtest("full, with the stores away: PostgreSQL keeps its WAL"):
    s3.block()
    for _ in range(3):
        fill(db)
        switch_wal(db)
    db.succeed(f"dd if=/dev/zero of={STAGING}/filler bs=64k status=none || true")
    fill(db)
    kept = switch_wal(db)
    wait_for_query(db, "select failed_count > 0 from pg_stat_archiver")
    db.succeed(f"test -e {PGDATA}/pg_wal/{kept}")
    db.fail(f"test -e {STAGING}/{kept}")

with subtest("there is room again: it is archived, and nothing was lost"):
    s3.unblock()
    db.succeed(f"rm {STAGING}/filler")
    wait_stored(s3, kept, timeout=90)

with subtest("not mounted: the walkeep units wait, PostgreSQL starts and keeps its WAL"):
    db.succeed("systemctl stop walkeep.service", f"systemctl stop {PG_UNIT}")
    db.succeed(f"umount {STAGING}", f"systemctl mask --runtime {UNIT}")
    db.succeed(f"systemctl start {PG_UNIT}")
    wait_for_postgres(db)
    fill(db)
    kept = switch_wal(db)
    wait_for_query(db, "select failed_count > 0 from pg_stat_archiver")
    t.assertEqual(db.succeed(f"ls -A {STAGING}"), "")
    db.fail("systemctl start walkeep.service")

with subtest("mounted by a new, empty volume: refused until init"):
    db.succeed(f"systemctl unmask --runtime {UNIT}", f"systemctl start {UNIT}")
    db.succeed("systemd-tmpfiles --create walkeep.conf", "walkeep init 2>&1")
    db.succeed("systemctl restart walkeep.service")
    wait_stored(s3, kept, timeout=90)
