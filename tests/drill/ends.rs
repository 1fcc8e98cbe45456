//! However a drill ends, nothing is left: told to end, killed, out of time,
//! out of room.

use std::{
    fs,
    process::{Child, Stdio},
    time::Duration,
};

use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};

use super::{
    configure, drill, is_clean, kept, scratch,
    support::{
        host::{hand_over, wait_until},
        site::read,
        volume::Volume,
    },
    world::{World, make},
};

/// A drill that is at a check which takes its time, and its server.
fn sleeping(world: &World) -> (Child, Pid) {
    let mut command = world.command(&["drill"]);
    let drill = command.stderr(Stdio::null()).stdout(Stdio::null());
    let drill = drill.spawn().unwrap();
    let server = || {
        let entries = fs::read_dir(scratch(world)).ok()?.flatten();
        let mut files = entries.map(|entry| entry.path().join("data/postmaster.pid"));
        let text = read(&files.find(|file| file.exists())?);
        let pid = text.lines().next()?.parse().ok()?;
        // Recovered, and asked something.
        let children = format!("/proc/{pid}/task/{pid}/children");
        let children = fs::read_to_string(children).ok()?;
        let is_asked = children.split_whitespace().any(|child| {
            let command = fs::read(format!("/proc/{child}/cmdline")).unwrap_or_default();
            String::from_utf8_lossy(&command).contains("SELECT")
        });
        is_asked.then(|| Pid::from_raw(pid))
    };
    wait_until("the check runs", Duration::from_secs(60), || {
        server().is_some()
    });
    (drill, server().unwrap())
}

fn is_gone(pid: Pid) -> bool {
    fs::read_link(format!("/proc/{pid}/exe")).is_err()
}

#[test]
fn nothing_is_left_however_it_ends() {
    let world = World::new();
    world.cluster.sql("CREATE TABLE kept AS SELECT 7 AS i");
    world.backup();
    world.ship();
    configure(&world, "checks = [\"select pg_sleep(600)\"]");
    let signal = |child: &Child, signal: Signal| {
        kill(Pid::from_raw(child.id().cast_signed()), signal).unwrap();
    };

    // Told to end, it removes everything, and proves nothing.
    let (mut told, server) = sleeping(&world);
    signal(&told, Signal::SIGTERM);
    assert_eq!(told.wait().unwrap().code(), Some(1));
    assert!(is_gone(server));
    is_clean(&world);
    assert_eq!(kept(&world), []);

    // Killed, it leaves what the next one removes, the server included.
    let (mut killed, server) = sleeping(&world);
    signal(&killed, Signal::SIGKILL);
    killed.wait().unwrap();
    assert!(!is_gone(server));
    world
        .site
        .reconfigure(|text| text.replace("pg_sleep(600)", "i from kept"));
    let (said, _) = drill(&world, &[], 0);
    assert_eq!(said["checks"][0]["answer"], "7");
    assert!(is_gone(server));
    is_clean(&world);

    // Out of time.
    world.site.reconfigure(|text| {
        let text = text.replace("i from kept", "pg_sleep(600)");
        text.replacen("[drill]\n", "[drill]\ntimeout = \"6s\"\n", 1)
    });
    let (said, _) = drill(&world, &[], 1);
    assert_eq!(said["error"], "it took longer than drill.timeout, 6s");
    is_clean(&world);

    // Out of room: said before anything is written.
    let small = world.site.path("small");
    make(&small);
    let Some(_volume) = Volume::mount(&small, "5m") else {
        return;
    };
    hand_over(&small);
    let old = scratch(&world).display().to_string();
    world
        .site
        .reconfigure(|text| text.replace(&old, &small.display().to_string()));
    let (said, run) = drill(&world, &[], 1);
    run.tells("small").tells(" free, and ").tells(" are needed");
    assert_eq!(said["bytes"], 0);
    assert_eq!(fs::read_dir(&small).unwrap().count(), 0);
}
