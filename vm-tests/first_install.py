# From the package to the first moment that can be restored
# guests: nixpkgs debian module
# nodes: db s3
import json

start_all()
wait_for_stores(s3)

install_package(db)
for timer in ("backup", "full-backup", "prune", "verify"):
    db.wait_for_unit(f"walkeep-{timer}.timer", timeout=10)

if not IS_NIXOS:
    with subtest("without a configuration the package waits for one"):
        t.assertEqual(db.get_unit_property("walkeep.service", "ActiveState"), "inactive")
        t.assertEqual(db.get_unit_property("walkeep.service", "ConditionResult"), "no")
        for timer in ("backup", "full-backup", "prune", "verify"):
            db.succeed(f"systemctl is-enabled --quiet walkeep-{timer}.timer")
        db.fail("systemctl is-enabled --quiet walkeep-drill.timer")
        db.succeed("bash -c 'source /usr/share/bash-completion/completions/walkeep'")

with subtest("units are as they were written"):
    t.assertIn("walkeep postgres", db.succeed("stat -c '%U %G' /var/lib/walkeep"))
    t.assertIn("2770", db.succeed("stat -c %a /var/lib/walkeep/staging"))
    # The drop-in that jobs share reaches jobs, and the template's too.
    for unit in ("walkeep-backup.service", *([] if IS_NIXOS else ["walkeep-backup@main.service"])):
        t.assertEqual(db.get_unit_property(unit, "NoNewPrivileges"), "yes")
        t.assertEqual(db.get_unit_property(unit, "User"), "postgres")

with subtest("configured, bound, archiving"):
    configure(db)
    fill(db)
    name = switch_wal(db)
    wait_stored(s3, name)
    if not IS_DEBIAN:
        # Under nixpkgs' filter, which kills whoever asks for chown or setpriority.
        server = db.succeed(f"head -1 {PGDATA}/postmaster.pid").strip()
        db.succeed(f"grep -q '^Seccomp:.2$' /proc/{server}/status")
        t.assertIn("NoNewPrivileges=yes", db.succeed(f"systemctl show -p NoNewPrivileges {PG_UNIT}"))
    # Not even the first push has to be repeated.
    t.assertEqual(psql(db, "select failed_count from pg_stat_archiver"), "0")

with subtest("the first backup makes a moment restorable"):
    back_up(db)
    db.wait_until_succeeds("walkeep check 2>&1", timeout=30)
    db.succeed("walkeep status >&2")
    window = json.loads(db.succeed("walkeep --json status"))
    log(json.dumps(window)[:400])
    t.assertEqual(len(db.succeed("walkeep --json backup list").splitlines()), 1)

with subtest("every job runs under its unit's sandbox"):
    for job in ("backup", "verify", "deep-verify", "prune", "ship"):
        db.succeed(f"systemctl start walkeep-{job}.service", timeout=60)
    said = db.succeed("journalctl -u 'walkeep*' -o cat")
    t.assertNotRegex(said, "(?i)permission denied|read-only file system")

with subtest("the daemon holds its sandbox and its watchdog"):
    pid = db.get_unit_property("walkeep.service", "MainPID")
    t.assertEqual(db.succeed(f"stat -c %U /proc/{pid}").strip(), "walkeep")
    t.assertEqual(db.get_unit_property("walkeep.service", "WatchdogUSec"), "2min")
    db.succeed("systemctl reload walkeep.service")
    t.assertEqual(db.get_unit_property("walkeep.service", "MainPID"), pid)
    said = db.succeed("systemd-analyze security --no-pager walkeep.service | tail -1")
    t.assertLessEqual(float(said.split(":")[1].split()[0]), 2.0, said)
