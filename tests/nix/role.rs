//! The role that the daemon has where it is its own user.

use std::process::Output;

use walkeep::postgres::session::Session;

use crate::{
    repository,
    support::{
        host,
        postgres::{Cluster, default_server},
    },
};

#[test]
fn the_daemons_role_sees_what_it_watches_and_may_do_no_more() {
    let server = default_server();
    if !server.has("psql") {
        return host::skip("psql", "install PostgreSQL's client programs");
    }
    let cluster = Cluster::builder().conf("archive_mode = on").build();
    // As walkeep-role.service runs it, at each start.
    for _ in 0..2 {
        let output = give_role(&cluster, false);
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success() && said.is_empty(), "{said}");
    }

    let connection = cluster
        .connection()
        .replace("user=postgres", "user=walkeep");
    let mut session = Session::connect(&connection).expect("connect as walkeep");
    let watched = session.watch().expect("look at the server");
    assert_eq!(watched.waiting.expect("may count what waits").files, 0);
    assert_eq!(session.slot("walkeep").expect("look for a slot"), None);

    let may = |what: &str| cluster.value::<bool>(&format!("SELECT {what}"));
    assert!(!may(
        "rolsuper OR rolreplication FROM pg_roles WHERE rolname = 'walkeep'"
    ));
    assert!(!may(
        "has_function_privilege('walkeep', 'pg_switch_wal()', 'execute')"
    ));

    assert!(give_role(&cluster, true).status.success());
    assert!(may(
        "rolreplication FROM pg_roles WHERE rolname = 'walkeep'"
    ));
}

fn give_role(cluster: &Cluster, stream: bool) -> Output {
    let script = std::fs::read_to_string(repository("nixos-module/role.sql"));
    // The server's user may not be allowed to read the repository.
    let file = cluster.socket_directory().join("role.sql");
    crate::write(&file, &script.expect("read role.sql"));
    let mut command = cluster.server().command("psql");
    command
        .args(["--no-psqlrc", "--quiet", "--set=ON_ERROR_STOP=1"])
        .arg(format!("--set=stream={stream}"))
        .arg(format!("--host={}", cluster.socket_directory().display()))
        .arg(format!("--port={}", cluster.port()))
        .args(["--username=postgres", "--dbname=postgres"])
        .arg(format!("--file={}", file.display()));
    command.output().expect("run psql")
}
