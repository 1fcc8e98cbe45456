//! Who is asked, and what the answer does.

use std::{
    io::{Read, Write},
    process::{Command, Stdio},
};

use super::{
    keys, listed,
    support::{
        host::{as_server_user, walkeep_binary},
        site::Site,
    },
    world_of,
};

/// Runs walkeep on a terminal of its own (`script`, of util-linux), and answers
/// its question with what `answer` gives. Its exit code, and all that it said.
pub fn on_terminal(
    site: &Site,
    arguments: &[&str],
    answer: impl FnOnce() -> &'static str,
) -> (i32, String) {
    let words = [
        walkeep_binary().to_str().expect("UTF-8"),
        "--config",
        site.config().to_str().expect("UTF-8"),
    ]
    .into_iter()
    .chain(arguments.iter().copied())
    .collect::<Vec<_>>()
    .join(" ");
    let mut command = Command::new("script");
    let mut script = as_server_user(&mut command)
        .args(["--quiet", "--return", "--command", &words, "/dev/null"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("start script");
    let mut said = Vec::new();
    let mut out = script.stdout.take().expect("stdout");
    let mut byte = [0];
    while !said.ends_with(b"[y/N] ") {
        let read = out.read(&mut byte).expect("read");
        let told = || String::from_utf8_lossy(&said).into_owned();
        assert!(read == 1, "no question: {}", told());
        said.push(byte[0]);
    }
    let mut terminal = script.stdin.take().expect("stdin");
    terminal.write_all(answer().as_bytes()).expect("answer");
    out.read_to_end(&mut said).expect("read");
    drop(terminal);
    let ended = script.wait().expect("wait for script");
    let said = String::from_utf8_lossy(&said).into_owned();
    (ended.code().expect("a code"), said)
}

#[test]
fn nothing_is_deleted_before_somebody_agrees() {
    let (world, ids) = world_of(2);
    let before = keys(&world, 0);
    for arguments in [
        &["prune"][..],
        &["--json", "prune"],
        &["backup", "delete", &ids[0]],
    ] {
        world
            .site
            .walkeep(arguments)
            .expect(2)
            .tells("there is nobody to ask, so nothing was deleted")
            .tells("`--yes` deletes it");
    }
    world
        .site
        .walkeep(&["prune", "--yes", "--dry-run"])
        .expect(2);
    for no in ["n\n", "\n", "yess\n"] {
        let (code, said) = on_terminal(&world.site, &["prune"], || no);
        assert_eq!(code, 1, "{said}");
        assert!(said.contains(&format!("backup {} goes", ids[0])), "{said}");
        assert!(said.contains("nothing was deleted"), "{said}");
    }
    assert_eq!(keys(&world, 0), before);
    let (code, said) = on_terminal(&world.site, &["prune"], || "y\n");
    assert_eq!(code, 0, "{said}");
    assert!(said.contains("deleted, "), "{said}");
    assert_eq!(listed(&world.site), ids[1..]);
}
