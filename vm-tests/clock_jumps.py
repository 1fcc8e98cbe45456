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
        # Signatures are for a time: the stores refuse those of another. What
        # waits is kept, and who has to set the clock is told.
        switch_wal(db)
        db.wait_until_succeeds("walkeep alerts | grep -c clock", timeout=90)

with subtest("set right again, all is well"):
    db.succeed("date -s '-1 day'", "date -s '+1 hour'")
    db.wait_for_unit("walkeep.service", timeout=10)
    # A store that refused rests for up to a minute.
    wait_stored(s3, switch_wal(db), timeout=120)
    db.succeed("walkeep verify >&2", timeout=60)
    db.wait_until_succeeds("alerts=$(walkeep alerts); ! grep '^[a-z]* *clock' <<<\"$alerts\"", timeout=90)
