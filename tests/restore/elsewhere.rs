//! Configuration that lives outside the data directory, or leads to the living
//! cluster; and whose files the restored ones are.

use std::{
    fs,
    os::unix::fs::MetadataExt,
    process::{Command, Stdio},
};

use super::{
    PATIENCE,
    support::{
        host::{TempDir, as_server_user, hand_over, wait_until},
        site::read,
    },
    world::{World, make},
};

#[test]
fn a_copy_of_a_cluster_that_is_configured_elsewhere_is_started_as_itself() {
    let world = World::new();
    let cluster = &world.cluster;
    cluster.sql("CREATE TABLE kept (i int)");
    // As on Debian: the live directory and its files are named outside.
    let outside = world.site.path("etc");
    make(&outside);
    let hba = outside.join("pg_hba.conf");
    fs::copy(cluster.data().join("pg_hba.conf"), &hba).unwrap();
    fs::write(outside.join("more.conf"), "work_mem = '7MB'\n").unwrap();
    hand_over(&outside);
    cluster.append_conf(&format!("data_directory = '{}'", cluster.data().display()));
    cluster.append_conf(&format!("hba_file = '{}'", hba.display()));
    cluster.append_conf(&format!(
        "include '{}'",
        outside.join("more.conf").display()
    ));
    cluster.stop_fast();
    cluster.start();
    world.backup();
    cluster.sql("INSERT INTO kept VALUES (7)");
    world.ship();

    let run = world.restore(&["--json"]);
    let answer = run.expect(0).json();
    let (start, target) = (answer["start"].as_str().unwrap(), world.target());
    let copy = target.join(format!("walkeep.configuration{}", hba.display()));
    assert_eq!(read(&copy), read(&hba));
    assert!(
        target
            .join(format!(
                "walkeep.configuration{}/more.conf",
                outside.display()
            ))
            .exists()
    );
    for word in [
        format!("-c data_directory={}", target.display()),
        format!("-c hba_file={}", copy.display()),
    ] {
        assert!(start.contains(&word), "{word} in {start}");
    }
    world.verify(&target);

    // By that very command, beside the living one.
    let socket = TempDir::new();
    let program = cluster.server().bin.join("postgres");
    let start = start.replacen("postgres", &program.display().to_string(), 1);
    let mut shell = Command::new("/bin/sh");
    as_server_user(&mut shell)
        .arg("-c")
        .arg(format!(
            "exec {start} -k {} -c listen_addresses= -c dynamic_shared_memory_type=mmap",
            socket.display()
        ))
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    let mut server = shell.spawn().unwrap();
    let connect = || {
        postgres::Config::new()
            .host_path(socket.path())
            .user("postgres")
            .dbname("postgres")
            .connect(postgres::NoTls)
    };
    wait_until("it recovers", PATIENCE, || {
        let client = connect();
        client.is_ok_and(|mut client| {
            let row = client.query_one("SELECT pg_is_in_recovery()", &[]);
            row.is_ok_and(|row| !row.get::<_, bool>(0))
        })
    });
    let row = connect()
        .unwrap()
        .query_one(
            "SELECT current_setting('data_directory'), current_setting('hba_file'), \
             (SELECT count(*) FROM kept)",
            &[],
        )
        .unwrap();
    assert_eq!(row.get::<_, String>(0), target.to_str().unwrap());
    assert_eq!(row.get::<_, String>(1), copy.to_str().unwrap());
    assert_eq!(row.get::<_, i64>(2), 1);
    let pid = nix::unistd::Pid::from_raw(server.id() as i32);
    nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGQUIT).unwrap();
    server.wait().unwrap();
}

#[test]
fn root_restores_for_the_clusters_user() {
    if !nix::unistd::Uid::effective().is_root() {
        return;
    }
    let world = World::new();
    world.cluster.sql("CREATE TABLE kept (i int)");
    world.backup();
    world.ship();
    let target = world.target();
    let run = world
        .site
        .run_as_tester(&["restore", target.to_str().unwrap()], &[]);
    run.expect(0);
    let owner = fs::metadata(world.cluster.data()).unwrap().uid();
    for path in ["", "PG_VERSION", "global/pg_control", "walkeep.plan.json"] {
        let metadata = fs::metadata(target.join(path)).unwrap();
        assert_eq!(metadata.uid(), owner, "{path}");
        assert_eq!(metadata.mode() & 0o077, 0, "{path}");
    }
    world.start();
}
