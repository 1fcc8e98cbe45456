//! How it ends: the command's own code, a refusal, an interruption.

use std::{fs, process::Stdio, time::Duration};

use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};

use super::{
    ask, is_clean, scratch,
    support::{host::wait_until, site::read},
    world::World,
};

fn world() -> World {
    let world = World::new();
    world.cluster.sql("CREATE TABLE kept AS SELECT 7 AS i");
    world.backup();
    world.ship();
    world
}

#[test]
fn the_commands_exit_code_is_passed_on() {
    let world = world();
    let run = |words: &[&str]| {
        let variables = [
            ("PGSERVICE", "live"),
            ("PGHOSTADDR", "127.0.0.1"),
            ("PGTZ", "UTC"),
        ];
        let words = [&["extract", "--immediate", "--"], words].concat();
        world.site.run(&words, &variables)
    };
    run(&["sh", "-c", "exit 7"]).expect(7);
    run(&["sh", "-c", "kill -KILL $$"]).expect(128 + 9);
    run(&["/no/such/program"])
        .expect(127)
        .tells("start \"/no/such/program\"");
    run(&["/etc/hostname"]).expect(126);
    let told = run(&[
        "sh",
        "-c",
        "echo $PGHOST $PGPORT $PGUSER $PGDATABASE $PGSERVICE$PGHOSTADDR $PGTZ",
    ]);
    told.expect(0).says("/socket 5432 postgres postgres UTC\n");
    is_clean(&world);

    // What was not run has codes of its own.
    let refused = ask(&world, &["--to-time", "2020-01-01T00:00:00Z"], "SELECT 1");
    refused.expect(125).tells("what can be reached");
    ask(&world, &["--to-time", "2020-01-01 00:00:00"], "SELECT 1").expect(2);
    world.site.walkeep(&["extract", "--immediate"]).expect(2);
    let bad = |text: String| text.replace("user=postgres", "user=nobody_here");
    world.site.reconfigure(bad);
    ask(&world, &["--immediate"], "SELECT 1")
        .expect(125)
        .tells("role \"nobody_here\" does not exist");
    is_clean(&world);
}

/// Starts one whose command sleeps, and waits until it does.
fn sleeping(world: &World) -> (std::process::Child, Pid) {
    let file = world.site.path("pid");
    let _ = fs::remove_file(&file);
    let script = format!(
        "echo $$ > {0}.new; mv {0}.new {0}; exec sleep 600",
        file.display()
    );
    let mut command = world.command(&["extract", "--immediate", "--", "sh", "-c", &script]);
    let extract = command.stderr(Stdio::null()).spawn().unwrap();
    wait_until("the command runs", Duration::from_secs(60), || {
        file.exists()
    });
    let pid = read(&file).trim().parse().unwrap();
    (extract, Pid::from_raw(pid))
}

fn pid(child: &std::process::Child) -> Pid {
    Pid::from_raw(child.id() as i32)
}

/// The postmaster of the only scratch cluster.
fn server(world: &World) -> Pid {
    let entries = fs::read_dir(scratch(world)).unwrap().flatten();
    let files = entries.map(|entry| entry.path().join("data/postmaster.pid"));
    let file = files.into_iter().find(|file| file.exists()).unwrap();
    let text = read(&file);
    Pid::from_raw(text.lines().next().unwrap().parse().unwrap())
}

/// Or only waits for somebody to ask how it ended.
fn is_gone(pid: Pid) -> bool {
    fs::read_link(format!("/proc/{pid}/exe")).is_err()
}

#[test]
fn one_that_is_told_to_end_removes_everything() {
    let world = world();
    for signal in [Signal::SIGTERM, Signal::SIGINT] {
        let (mut extract, sleep) = sleeping(&world);
        let server = server(&world);
        kill(pid(&extract), signal).unwrap();
        assert_eq!(extract.wait().unwrap().code(), Some(128 + signal as i32));
        assert!(is_gone(sleep) && is_gone(server));
        is_clean(&world);
    }
}

#[test]
fn what_a_killed_one_leaves_is_removed_by_the_next() {
    let world = world();
    let (mut killed, sleep) = sleeping(&world);
    let left = server(&world);
    kill(pid(&killed), Signal::SIGKILL).unwrap();
    killed.wait().unwrap();
    kill(sleep, Signal::SIGKILL).unwrap();
    assert!(!is_gone(left));
    // Beside one that is in use.
    let (mut other, _) = sleeping(&world);
    assert!(is_gone(left));
    let run = ask(&world, &["--immediate"], "SELECT i FROM kept");
    assert_eq!(run.expect(0).stdout, "7\n");
    assert_eq!(fs::read_dir(scratch(&world)).unwrap().count(), 2);
    kill(pid(&other), Signal::SIGTERM).unwrap();
    other.wait().unwrap();
    is_clean(&world);
}
