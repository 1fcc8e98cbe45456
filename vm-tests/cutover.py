# From `cp`, with 847 files copied and 300 waiting in pg_wal
# guests: nixpkgs module
# nodes: db s3
# seconds: 180
OLD = "/srv/archive"
start_all()
wait_for_stores(s3)
wait_for_postgres(db)


def switches(count):
    """So many segments, in one session."""
    text = "select pg_logical_emit_message(true, '', ''); select pg_switch_wal();"
    db.succeed(
        f"for _ in $(seq {count}); do echo \"{text}\"; done > /tmp/switches.sql",
        as_postgres("psql -XAtqf /tmp/switches.sql postgres >/dev/null"),
        timeout=90,
    )


with subtest("an older set-up: 847 files in a directory, 300 that PostgreSQL could not copy"):
    if not IS_NIXOS:  # There it is nixos/cutover.nix that says so.
        db.succeed(f"install -d -o postgres -g postgres -m 750 {OLD}")
        psql(db, "alter system set archive_mode = on")
        psql(db, f"alter system set archive_command = 'test ! -e {OLD}/%f && cp %p {OLD}/%f'")
        db.succeed(f"mkdir -p /etc/systemd/system/{PG_UNIT}.d")
        db.succeed(f"printf '[Service]\\nReadWritePaths={OLD}\\n' > /etc/systemd/system/{PG_UNIT}.d/old.conf")
        db.succeed("systemctl daemon-reload", f"systemctl restart {PG_UNIT}")
        wait_for_postgres(db)
    fill(db, "kept", 1000)
    switches(850)
    db.wait_until_succeeds(f"test $(ls {OLD} | wc -l) -ge 847", timeout=90)
    psql(db, "alter system set archive_command = 'false'")
    psql(db, "select pg_reload_conf()")
    fill(db, "kept", 500)
    switches(300)
    ready = f"ls {PGDATA}/pg_wal/archive_status | grep -c ready$"
    db.wait_until_succeeds(f"test $({ready}) -ge 300", timeout=30)
    copied = db.succeed(f"ls {OLD} | grep -cE '^[0-9A-F]{{24}}$'").strip()
    log(f"{copied} files copied, {db.succeed(ready).strip()} waiting")

with subtest("cut over: the directory becomes staging"):
    first = db.succeed(f"ls {OLD} | grep -E '^[0-9A-F]{{24}}$'").split()[0]
    # PostgreSQL's umask was cp's: nobody else could read what it copied.
    db.succeed(f"chmod 2770 {OLD}; find {OLD} -type f -exec chmod g+r {{}} +")
    if IS_NIXOS:
        psql(db, "alter system reset archive_command")
        switch_to(db, "walkeep")
        configure(db)
    else:
        install_package(db)
        db.succeed("mkdir -p /etc/systemd/system/walkeep.service.d")
        db.succeed(f"printf '[Service]\\nReadWritePaths={OLD}\\n' > /etc/systemd/system/walkeep.service.d/staging.conf")
        # The sandbox takes /var/lib/walkeep in when the server starts.
        db.succeed("systemctl daemon-reload", f"systemctl restart {PG_UNIT}")
        wait_for_postgres(db)
        write_config(db, staging=OLD)
        role_for_daemon(db)
        db.succeed("walkeep init --apply 2>&1")
        # archive_mode was on before: a reload is all it takes.
        psql(db, "select pg_reload_conf()")
        db.succeed("systemctl restart walkeep.service")
        db.wait_for_unit("walkeep.service", timeout=30)

with subtest("everything arrives, the oldest too"):
    last = switch_wal(db)
    wait_stored(s3, last, timeout=120)
    wait_stored(s3, first)
    wait_until_none_waits(db, OLD, timeout=90)
    t.assertNotIn(".ready", db.succeed(f"ls {PGDATA}/pg_wal/archive_status"))
    for port in (7070, 7071):
        count = int(s3.succeed(f"ls /srv/store/{port}/wal/main/wal | grep -cE '^[0-9A-F]{{24}}.gz$'"))
        t.assertGreaterEqual(count, 847 + 300)
    db.succeed("walkeep wal list >&2")

with subtest("within its memory"):
    peak = int(db.succeed("grep VmHWM /proc/$(systemctl show -p MainPID --value walkeep)/status | tr -dc 0-9"))
    t.assertLess(peak, 200 << 10, f"{peak} KiB")
