//! Targets on both sides of a promotion: a copy was restored to a moment and
//! promoted, and from then on both it and the cluster that it was taken from
//! write WAL into one archive. Transaction numbers and positions of the two
//! timelines overlap, so only the way through the history tells them apart.

use super::{
    support::postgres::{Cluster, Server, major},
    targets::{Mark, mark, restored, rows},
    world::World,
};

#[test]
fn every_target_around_a_promotion_13() {
    every_target_around_a_promotion(13);
}

#[test]
fn every_target_around_a_promotion_14() {
    every_target_around_a_promotion(14);
}

#[test]
fn every_target_around_a_promotion_15() {
    every_target_around_a_promotion(15);
}

#[test]
fn every_target_around_a_promotion_16() {
    every_target_around_a_promotion(16);
}

#[test]
fn every_target_around_a_promotion_17() {
    every_target_around_a_promotion(17);
}

#[test]
fn every_target_around_a_promotion_18() {
    every_target_around_a_promotion(18);
}

fn every_target_around_a_promotion(number: u16) {
    // `every_major` reports, once, those that are not here.
    let Some(server) = major(number) else {
        return;
    };
    let forked = Forked::on(&server);
    forked.the_new_timeline_is_the_default();
    forked.the_old_one_is_reached_too();
    forked.what_is_not_there_or_twice_is_refused();
}

/// Timeline 1: a backup, `before`, `fork`, `old`. Timeline 2 leaves it behind
/// `before`: `new`, a backup, `last`.
struct Forked {
    world: World,
    at_backup: i64,
    before: Mark,
    fork: Mark,
    old: Mark,
    new: Mark,
    at_second_backup: i64,
    last: Mark,
}

impl Forked {
    fn on(server: &Server) -> Self {
        let world = World::on(server, &[]);
        world.cluster.sql("CREATE TABLE kept (i int)");
        mark(&world.cluster);
        world.backup();
        let at_backup = rows(&world.cluster);
        let before = mark(&world.cluster);
        let fork = mark(&world.cluster);
        restore_point(&world.cluster, "on the old one");
        world.ship();

        let promoted = promote(&world, &before);
        let old = mark(&world.cluster);
        world.ship();

        let new = mark(&promoted);
        restore_point(&promoted, "on the new one");
        world.configure_for(&promoted, &["one", "two"]);
        world.backup();
        let at_second_backup = rows(&promoted);
        let last = mark(&promoted);
        let segment = promoted.switch_wal();
        promoted.wait_archived(&segment);
        world.site.walkeep(&["ship"]).expect(0);
        Forked {
            world,
            at_backup,
            before,
            fork,
            old,
            new,
            at_second_backup,
            last,
        }
    }

    fn reaches(&self, arguments: &[&str], expected: i64) {
        let major = self.world.cluster.server().major;
        let found = restored(&self.world, arguments);
        assert_eq!(found, expected, "PostgreSQL {major}: {arguments:?}");
    }

    fn the_new_timeline_is_the_default(&self) {
        let Forked {
            before, new, last, ..
        } = self;
        let time = |mark: &Mark| mark.time.to_string();
        self.reaches(&[], last.rows);
        self.reaches(
            &["--timeline", "2", "--to-time", &time(before)],
            before.rows,
        );
        self.reaches(&["--to-time", &time(new)], new.rows);
        self.reaches(&["--timeline", "2", "--to-lsn", &last.lsn], last.rows);
        self.reaches(&["--to-xid", &last.xid, "--exclusive"], last.rows - 1);
        self.reaches(&["--to-xid", &new.xid], new.rows);
        self.reaches(&["--to-name", "on the new one"], new.rows);
        self.reaches(&["--immediate"], self.at_second_backup);
        self.reaches(&["--timeline", "2", "--to-lsn", &before.lsn], before.rows);
    }

    fn the_old_one_is_reached_too(&self) {
        let Forked {
            before, fork, old, ..
        } = self;
        let on_old = |arguments: &[&str], expected| {
            self.reaches(&[&["--timeline", "1"], arguments].concat(), expected);
        };
        on_old(&[], old.rows);
        on_old(&["--to-time", &before.time.to_string()], before.rows);
        on_old(&["--to-time", &fork.time.to_string()], fork.rows);
        on_old(&["--to-lsn", &fork.lsn], fork.rows);
        on_old(&["--to-xid", &old.xid], old.rows);
        on_old(&["--to-xid", &old.xid, "--exclusive"], old.rows - 1);
        on_old(&["--to-xid", &before.xid], before.rows);
        on_old(&["--to-name", "on the old one"], fork.rows);
        on_old(&["--immediate"], self.at_backup);
        // A name says which one it is on.
        self.reaches(&["--to-name", "on the old one"], fork.rows);
    }

    fn what_is_not_there_or_twice_is_refused(&self) {
        let refused = |arguments: &[&str], words: &str| {
            let _ = std::fs::remove_dir_all(self.world.target());
            self.world.restore(arguments).expect(1).tells(words);
            assert!(!self.world.target().exists());
        };
        let old = self.old.time.to_string();
        refused(
            &["--timeline", "1", "--to-time", &old],
            "ended after the target",
        );
        refused(
            &["--timeline", "1", "--to-name", "on the new one"],
            "no restore point \"on the new one\"",
        );
        refused(
            &["--timeline", "2", "--to-name", "on the old one"],
            "no restore point \"on the old one\"",
        );
        // Both have it; the moment of the fork as well, since what either
        // did next is in one segment with it.
        let [before, fork] = [&self.before, &self.fork].map(|mark| mark.time.to_string());
        for target in [
            ["--to-time", &before],
            ["--to-time", &fork],
            ["--to-lsn", &self.fork.lsn],
        ] {
            refused(&target, "the target exists on several timelines (1, 2)");
        }
        refused(&["--timeline", "3"], "timeline 3 does not exist");
    }
}

fn restore_point(cluster: &Cluster, name: &str) {
    cluster.sql(&format!("SELECT pg_create_restore_point('{name}')"));
}

/// A copy of the cluster at this moment, on a timeline of its own, that
/// archives as the cluster does.
fn promote(world: &World, moment: &Mark) -> Cluster {
    let directory = world.site.path("promoted");
    let time = moment.time.to_string();
    let arguments = ["restore", directory.to_str().expect("UTF-8")];
    let target = ["--to-time", time.as_str()];
    let run = world.site.walkeep(&[&arguments[..], &target[..]].concat());
    run.expect(0);
    let promoted = Cluster::over(world.cluster.server(), &directory);
    promoted.start();
    promoted.wait_promoted();
    assert_eq!(rows(&promoted), moment.rows);
    promoted.sql("ALTER SYSTEM RESET archive_mode");
    promoted.stop_fast();
    promoted.start();
    // It was made while nothing was archived.
    let history = directory.join("pg_wal/00000002.history");
    let push = ["wal", "push", history.to_str().expect("UTF-8")];
    world.site.walkeep(&push).expect(0);
    promoted
}
