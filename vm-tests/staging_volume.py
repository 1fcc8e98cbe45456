# The staging volume is full, and is not mounted
# guests: nixpkgs
# nodes: db s3
UNIT = "var-lib-walkeep-staging.mount"
# A mask would not do: systemd asks for no mount that is masked.
CANNOT_MOUNT = f"/run/systemd/system/{UNIT}.d/broken.conf"
start_all()
wait_for_stores(s3)
install_package(db)
if not IS_NIXOS:  # There the module makes it: nixos/staging_volume.nix.
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
db.wait_for_unit(UNIT, timeout=60)
configure(db)
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

with subtest("it cannot be mounted: the walkeep units do not start, PostgreSQL starts and keeps its WAL"):
    db.succeed("systemctl stop walkeep.service", f"systemctl stop {PG_UNIT}")
    db.succeed(
        f"umount {STAGING}",
        f"mkdir -p $(dirname {CANNOT_MOUNT}); printf '[Mount]\\nType=broken\\n' > {CANNOT_MOUNT}",
        "systemctl daemon-reload",
    )
    db.succeed(f"systemctl start {PG_UNIT}")
    wait_for_postgres(db)
    fill(db)
    kept = switch_wal(db)
    wait_for_query(db, "select failed_count > 0 from pg_stat_archiver")
    t.assertEqual(db.succeed(f"ls -A {STAGING}"), "")
    for unit in ("walkeep.service", "walkeep-ship.service", "walkeep-backup.service"):
        said = db.fail(f"systemctl start {unit} 2>&1")
        t.assertIn(f"A dependency job for {unit} failed", said)

with subtest("mounted by a new, empty volume: refused until init"):
    db.succeed(f"rm {CANNOT_MOUNT}", "systemctl daemon-reload", f"systemctl reset-failed {UNIT}")
    if IS_NIXOS:
        # Its maker has run at this boot, and makes one where there is none.
        db.succeed("rm /var/lib/walkeep/staging.img", "systemctl restart walkeep-volume.service")
        db.succeed(f"systemctl start {UNIT}", "systemctl restart walkeep-staging.service")
    else:
        db.succeed(f"systemctl start {UNIT}", "systemd-tmpfiles --create walkeep.conf")
    db.fail("systemctl start walkeep.service 2>&1")
    db.succeed("walkeep init 2>&1")
    db.succeed("systemctl restart walkeep.service")
    wait_stored(s3, kept, timeout=90)
