# The package is upgraded with segments waiting, then downgraded, removed, purged
# guests: debian module
# nodes: db s3
# seconds: 180
start_all()
wait_for_stores(s3)


def install(package):
    if IS_NIXOS:
        # nixos/upgrade.nix has it as a system of its own.
        switch_to(db, package if package == "newer" else None)
    else:
        db.succeed(f"dpkg -i /srv/{package}.deb 2>&1", timeout=120)


if not IS_NIXOS:
    # The same content under a newer version.
    db.succeed(
        "dpkg-deb -R /srv/walkeep.deb /tmp/package",
        "sed -i 's/^Version: .*/Version: 9.0.0/' /tmp/package/DEBIAN/control",
        "dpkg-deb --root-owner-group -Znone -b /tmp/package /srv/newer.deb",
        "rm -rf /tmp/package",
    )
set_up(db)
back_up(db)

for package in ("newer", "walkeep"):
    with subtest(f"segments wait while the package {package} is installed"):
        s3.block()
        names = []
        for _ in range(3):
            fill(db)
            names.append(switch_wal(db))
        wait_for_query(db, "select last_archived_wal >= '%s' from pg_stat_archiver" % names[-1])
        before = db.get_unit_property("walkeep.service", "MainPID")
        server = db.succeed("head -1 %s/postmaster.pid" % PGDATA)
        install(package)
        db.wait_for_unit("walkeep.service", timeout=30)
        t.assertNotEqual(db.get_unit_property("walkeep.service", "MainPID"), before)
        # PostgreSQL was not restarted, and no push failed.
        t.assertEqual(db.succeed("head -1 %s/postmaster.pid" % PGDATA), server)
        t.assertEqual(psql(db, "select failed_count from pg_stat_archiver"), "0")
        s3.unblock()
        for name in names:
            wait_stored(s3, name, timeout=90)

if not IS_NIXOS:  # No package of NixOS is purged.
    with subtest("removed: the units are gone, everything else stays"):
        psql(db, "alter system reset archive_command")
        psql(db, "select pg_reload_conf()")
        db.succeed("dpkg -r walkeep 2>&1")
        db.fail("systemctl is-active --quiet walkeep.service")
        db.fail("systemctl is-active --quiet walkeep-backup.timer")
        db.succeed(f"test -e {STAGING}/walkeep.json", "test -e /var/lib/walkeep/catalog.redb")

    with subtest("purged: what waits is kept, what can be made anew goes"):
        waiting = f"{STAGING}/0000000100000000000000FF"
        db.succeed(f"echo wal > {waiting}")
        said = db.succeed("dpkg -i /srv/walkeep.deb 2>&1; dpkg -P walkeep 2>&1", timeout=60)
        t.assertIn("is kept", said)
        db.succeed(f"test -e {waiting}", "test -e /etc/walkeep/store.secret")
        db.fail("test -e /var/lib/walkeep/catalog.redb")
        db.succeed(f"rm {waiting}", "dpkg -i /srv/walkeep.deb 2>&1; dpkg -P walkeep 2>&1", timeout=60)
        # What is told of a failure goes there in these tests; it may come late.
        left = db.succeed("find /var/lib/walkeep 2>/dev/null || true").split()
        t.assertIn(left, ([], ["/var/lib/walkeep", "/var/lib/walkeep/told.jsonl"]))
        db.fail("systemctl cat walkeep.service")
