//! The rooms of `src/` and what each may know, read off the sources: imports
//! point down only, and what is pure does no I/O. `ARCHITECTURE.md` says why.

mod source;

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::Path,
};

use source::{code_only, names_after, without_tests};

/// The floors, from the top. A room imports from the floors below its own; from
/// its own floor only where `SAME_FLOOR` says so.
const FLOORS: [&[&str]; 5] = [
    &["main"],
    &["cli", "verbs"],
    &[
        "archive",
        "audit",
        "backup",
        "demo",
        "recovery",
        "retention",
        "serve",
    ],
    &[
        "catalog",
        "cluster",
        "codec",
        "config",
        "fs",
        "layout",
        "logging",
        "privileges",
        "store",
        "trail",
    ],
    &["postgres"],
];

/// Floors whose rooms may import from one another, as long as that makes no
/// circle: arguments and verbs, and the foundations.
const SAME_FLOOR: [usize; 2] = [1, 3];

/// What the floors would forbid and the design asks for: an audit holds
/// against each other what `archive` has put into the stores, and reads it the
/// same way; which backups there are, their manifests say. A base backup goes
/// to the archive's places, as its WAL does. A recovery reads base backups, and
/// says to `archive` what it will need of the WAL. Retention reads both, and
/// takes away from both. The daemon ships.
const NEIGHBOURS: [(&str, &str); 8] = [
    ("audit", "archive"),
    ("audit", "backup"),
    ("backup", "archive"),
    ("recovery", "archive"),
    ("recovery", "backup"),
    ("retention", "archive"),
    ("retention", "backup"),
    ("serve", "archive"),
];

/// What the floors would allow and the design does not.
const STRANGERS: [(&str, &str); 10] = [
    // A store moves bytes under keys, whatever they mean.
    ("store", "postgres"),
    ("store", "catalog"),
    ("store", "layout"),
    // The catalog is an index that any of the stores can rebuild.
    ("catalog", "store"),
    ("codec", "store"),
    ("codec", "catalog"),
    ("fs", "store"),
    ("fs", "catalog"),
    ("fs", "postgres"),
    // Pure.
    ("layout", "fs"),
];

/// Names under which anything could be put.
const NO_ROOMS: [&str; 9] = [
    "common", "helper", "helpers", "manager", "misc", "mocks", "types", "util", "utils",
];

/// What does I/O, in files that must do none. By the first part of the path and
/// the second one.
const IO: [(&str, &[&str]); 2] = [
    ("std", &["env", "fs", "net", "os", "process", "thread"]),
    ("crate", &["catalog", "fs", "store"]),
];

/// Crates that do I/O.
const IO_CRATES: [&str; 5] = ["nix", "redb", "reqwest", "tokio", "tracing"];

#[test]
fn imports_point_down_and_pure_rooms_do_no_io() {
    let sources = sources();
    assert!(
        sources.len() > 5,
        "the sources are found: {}",
        sources.len()
    );
    let complaints = complaints(&sources);
    assert!(complaints.is_empty(), "\n{}", complaints.join("\n"));
}

/// What is wrong with these files: (path below `src/`, text).
fn complaints(sources: &[(String, String)]) -> Vec<String> {
    let mut complaints = Vec::new();
    let mut imports: BTreeMap<&str, BTreeSet<String>> = BTreeMap::new();
    for (path, text) in sources {
        for part in path.split('/') {
            if NO_ROOMS.contains(&part.trim_end_matches(".rs")) {
                complaints.push(format!("{path}: a room must not be called '{part}'"));
            }
        }
        let room = room_of(path);
        if room == "lib" {
            continue;
        }
        let Some(floor) = floor_of(room) else {
            complaints.push(format!(
                "{path}: the room '{room}' is on no floor of tests/rooms.rs"
            ));
            continue;
        };
        let code = without_tests(&code_only(text));
        for imported in rooms_named(path, &code) {
            if imported == room {
                continue;
            }
            imports.entry(room).or_default().insert(imported.clone());
            let Some(below) = floor_of(&imported) else {
                complaints.push(format!(
                    "{path}: imports '{imported}', which is on no floor"
                ));
                continue;
            };
            let neighbours = NEIGHBOURS.contains(&(room, imported.as_str()));
            let allowed =
                below > floor || neighbours || (below == floor && SAME_FLOOR.contains(&floor));
            if !allowed || STRANGERS.contains(&(room, imported.as_str())) {
                complaints.push(format!("{path}: '{room}' must not know '{imported}'"));
            }
        }
        if is_pure(path) {
            for what in io_in(&code) {
                complaints.push(format!("{path}: does no I/O, but names {what}"));
            }
        }
    }
    complaints.extend(circles(&imports));
    complaints
}

/// `store/s3.rs` is in the room `store`.
fn room_of(path: &str) -> &str {
    path.split('/')
        .next()
        .unwrap_or(path)
        .trim_end_matches(".rs")
}

fn floor_of(room: &str) -> Option<usize> {
    FLOORS.iter().position(|rooms| rooms.contains(&room))
}

/// PostgreSQL's formats but not the session, the layout of the bucket, plans.
fn is_pure(path: &str) -> bool {
    let session = path == "postgres/session.rs" || path.starts_with("postgres/session/");
    (room_of(path) == "postgres" && !session)
        || room_of(path) == "layout"
        || path.ends_with("/plan.rs")
        || path.contains("/plan/")
}

/// The rooms that the code names: after `crate::`, `walkeep::` (the program's
/// name for the library), and `super::` where that leads out of the room.
fn rooms_named(path: &str, code: &str) -> BTreeSet<String> {
    let mut rooms = names_after(code, "crate");
    rooms.extend(names_after(code, "walkeep"));
    let inside = path.trim_end_matches(".rs").trim_end_matches("/mod");
    let way_out = vec!["super"; inside.split('/').count()].join("::");
    rooms.extend(names_after(code, &way_out));
    rooms.remove("super");
    // What lib.rs itself has: `crate::Error`, `crate::main_exit`.
    rooms.retain(|name| name.starts_with(|c: char| c.is_ascii_lowercase()));
    rooms
}

fn io_in(code: &str) -> Vec<String> {
    let mut found = Vec::new();
    for (root, rooms) in IO {
        let named = names_after(code, root);
        found.extend(
            rooms
                .iter()
                .filter(|room| named.contains(**room))
                .map(|room| format!("{root}::{room}")),
        );
    }
    found.extend(
        IO_CRATES
            .iter()
            .filter(|name| !names_after(code, name).is_empty())
            .map(|name| name.to_string()),
    );
    found
}

/// Circles among the rooms, which floors alone would not exclude.
fn circles(imports: &BTreeMap<&str, BTreeSet<String>>) -> Vec<String> {
    let mut found = Vec::new();
    for room in imports.keys() {
        let mut reached = BTreeSet::new();
        let mut next = vec![*room];
        while let Some(from) = next.pop() {
            for to in imports.get(from).into_iter().flatten() {
                if reached.insert(to.as_str()) {
                    next.push(to);
                }
            }
        }
        if reached.contains(room) {
            found.push(format!("'{room}' imports itself in a circle"));
        }
    }
    found
}

/// Every file of `src/` but those that hold tests alone.
fn sources() -> Vec<(String, String)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut files = Vec::new();
    let mut directories = vec![root.clone()];
    while let Some(directory) = directories.pop() {
        for entry in fs::read_dir(&directory).expect("read a directory of src") {
            let path = entry.expect("read a directory of src").path();
            if path.is_dir() {
                directories.push(path);
            } else if path.extension().is_some_and(|it| it == "rs") && !path.ends_with("tests.rs") {
                let name = path.strip_prefix(&root).expect("below src");
                let text = fs::read_to_string(&path).expect("read a source file");
                files.push((name.to_str().expect("UTF-8").to_string(), text));
            }
        }
    }
    files.sort();
    files
}

/// What is said about one file.
fn said(path: &str, text: &str) -> Vec<String> {
    complaints(&[(path.to_string(), text.to_string())])
}

#[test]
fn an_import_that_points_up_is_seen_in_every_form() {
    for text in [
        "use crate::archive::push;",
        "use crate::{codec::{Sha256, Md5}, archive};",
        "use crate::{\n    fs,\n    archive::staging::{self, Staged},\n};",
        "fn f() { crate::archive::push() }",
        "use super::super::archive;",
        "use super::{super::codec, Store};\nuse crate::archive;",
    ] {
        assert_eq!(
            said("store/s3.rs", text),
            ["store/s3.rs: 'store' must not know 'archive'"],
            "{text}"
        );
    }
    assert_eq!(
        said("store/mod.rs", "use super::catalog;"),
        ["store/mod.rs: 'store' must not know 'catalog'"]
    );
    assert_eq!(
        said("recovery/plan.rs", "use crate::retention::plan;"),
        ["recovery/plan.rs: 'recovery' must not know 'retention'"]
    );
}

#[test]
fn what_only_looks_like_an_import_is_not_seen() {
    for text in [
        "// crate::archive\n/* crate::archive /* */ crate::archive */",
        r##"const A: &str = "crate::archive"; const B: &str = r#"" crate::archive"#;"##,
        "#[cfg(test)]\nmod tests { use crate::archive; fn f() { {} } }",
        "#[cfg(test)]\nuse crate::archive;",
        "fn f<'a>(c: &'a char) -> bool { *c == '\"' || *c == '\\'' } // \" crate::archive",
        "use my_crate::archive;",
        "use super::archive;",
        "use crate::{fs, codec::archive};",
    ] {
        assert_eq!(said("store/s3.rs", text), Vec::<String>::new(), "{text}");
    }
    // What comes after is read again.
    let text = "#[cfg(test)]\nmod tests { fn f() { } }\nuse crate::archive;";
    assert_eq!(said("store/s3.rs", text).len(), 1);
}

#[test]
fn io_in_a_pure_room_is_seen() {
    for text in [
        "use std::fs::File;",
        "use std::{collections::BTreeMap, fs};",
        "fn f() { std::fs::read(p) }",
        "use tokio::fs;",
        "use tokio::{io, net};",
    ] {
        for path in ["postgres/page.rs", "layout.rs", "recovery/plan.rs"] {
            assert_eq!(said(path, text).len(), 1, "{path}: {text}");
        }
        assert_eq!(said("postgres/session.rs", text), Vec::<String>::new());
        assert_eq!(said("recovery/restore.rs", text), Vec::<String>::new());
    }
}

#[test]
fn circles_and_forbidden_names_are_seen() {
    let sources = [
        ("config/mod.rs", "use crate::codec::Kind;"),
        ("codec/mod.rs", "use crate::config::Config;"),
    ]
    .map(|(path, text)| (path.to_string(), text.to_string()));
    assert_eq!(
        complaints(&sources),
        [
            "'codec' imports itself in a circle",
            "'config' imports itself in a circle"
        ]
    );
    assert_eq!(
        said("archive/util.rs", ""),
        ["archive/util.rs: a room must not be called 'util.rs'"]
    );
    assert_eq!(
        said("attic.rs", ""),
        ["attic.rs: the room 'attic' is on no floor of tests/rooms.rs"]
    );
}
