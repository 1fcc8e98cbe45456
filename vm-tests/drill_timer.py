# The drill's timer fires, and what came of it is told
# guests: nixpkgs debian module
# nodes: db s3
start_all()
wait_for_stores(s3)
set_up(db)
fill(db, "accounts", 100)
back_up(db)
if not IS_NIXOS:  # There it is nixos/drill_timer.nix that says so.
    db.succeed(
        "printf '[drill]\\nchecks = [\"select count(*) = 100 from accounts\"]\\n' >> /etc/walkeep/walkeep.toml",
        "mkdir -p /etc/systemd/system/walkeep-drill.timer.d",
        # Every two seconds instead of once a week.
        "printf '[Timer]\\nOnCalendar=\\nOnCalendar=*:*:0/2\\nRandomizedDelaySec=0\\n"
        "AccuracySec=100ms\\n' > /etc/systemd/system/walkeep-drill.timer.d/often.conf",
        "systemctl daemon-reload",
    )

with subtest("it fires, restores, and is noted"):
    db.succeed("systemctl start walkeep-drill.timer")
    db.wait_until_succeeds("journalctl -o cat -u walkeep-drill | grep -c 'Finished\\|Deactivated'", timeout=60)
    db.succeed("systemctl stop walkeep-drill.timer")
    db.wait_until_succeeds("systemctl show -p ActiveState walkeep-drill | grep -c '=inactive'", timeout=60)
    log(db.succeed("journalctl -o cat -u walkeep-drill | tail -20"))
    t.assertEqual(db.get_unit_property("walkeep-drill.service", "Result"), "success")
    # The living server's shared memory is still its own.
    psql(db, "select count(*) from accounts")
    left = db.succeed("ls /var/lib/walkeep/drill").split()
    t.assertEqual([name for name in left if "lock" not in name], [])

with subtest("one that finds something is told to every sink"):
    psql(db, "insert into accounts values (101)")
    wait_stored(s3, switch_wal(db))
    db.succeed("systemctl start walkeep-drill.timer")
    db.wait_until_succeeds("grep -qs 'FAILED: walkeep-drill.service' /var/lib/walkeep/told.jsonl", timeout=60)
    db.succeed("systemctl stop walkeep-drill.timer")
    # The daemon knows it too, from the catalog, until the next good one.
    db.wait_until_succeeds("walkeep alerts | grep -c drill", timeout=90)
