# The host's clock jumps an hour back, then a day ahead
# guests: nixpkgs
# nodes: db s3
# backends: qemu
start_all()
wait_for_stores(s3)
set_up(db)
fill(db)
back_up(db)

for jump in ("-1 hour", "+1 day"):
    with subtest(f"the clock goes {jump}"):
        db.succeed(f"date -s '{jump}'")
        fill(db)
        name = switch_wal(db)
        # Signatures are for a time: the stores refuse those of another, and say
        # their own, which walkeep goes by.
        wait_stored(s3, name, timeout=60)
        db.wait_for_unit("walkeep.service", timeout=10)
        db.wait_until_succeeds("walkeep alerts | grep -q clock", timeout=90)

with subtest("set right again, all is well"):
    db.succeed("date -s '-1 day'", "date -s '+1 hour'")
    wait_stored(s3, switch_wal(db), timeout=60)
    db.succeed("walkeep verify >&2", timeout=60)
    db.wait_until_succeeds("! walkeep alerts | grep -q '^[a-z]* *clock'", timeout=90)
