//! What is decided for archives as they come about.

use super::*;

#[test]
fn the_window_begins_with_the_newest_backup_before_it() {
    let archive = holdings(1)
        .days(1, 2..=20)
        .backup(1, 3, &[1, 2])
        .backup(1, 6, &[2, 3])
        .backup(1, 9, &[3, 4])
        .backup(1, 15, &[4, 5]);
    let decision = prune(&rules(20, 10, 1), &[archive]);
    // Object 2 is of both that go, 3 of one that stays.
    assert_eq!(
        told(&decision),
        "day3 day6 #1 #2 1:2 1:3 1:4 1:5 1:6 1:7 1:8"
    );
    let base = ("day9", Kept::Base(TimelineId(1)));
    assert_eq!(kept(&decision), [base, ("day15", Kept::InWindow)]);
    assert_eq!(decision.wal.len(), 1);
    assert_eq!(decision.wal[0].why, Kept::Needed("day9".to_owned()));
    assert_eq!(decision.wal[0].files, 12);
}

#[test]
fn so_many_backups_stay_however_old() {
    let archive = holdings(1)
        .days(1, 2..=40)
        .backup(1, 3, &[])
        .backup(1, 6, &[])
        .backup(1, 9, &[]);
    let decision = prune(&rules(40, 10, 2), &[archive]);
    assert_eq!(told(&decision), "day3 1:2 1:3 1:4 1:5");
    let kept = kept(&decision);
    assert_eq!(kept[0], ("day6", Kept::Minimum));
    assert_eq!(kept[1], ("day9", Kept::Base(TimelineId(1))));
}

#[test]
fn the_end_of_an_idle_cluster_stays() {
    let archive = holdings(1)
        .days(1, 2..=5)
        .backup(1, 3, &[])
        .backup(1, 4, &[]);
    let decision = prune(&rules(90, 10, 0), &[archive]);
    assert_eq!(told(&decision), "day3 1:2 1:3");
}

#[test]
fn a_timeline_that_was_left_within_the_window_keeps_its_own_beginning() {
    // Back on day 25 to where day 12 was; day 13 to 24 were timeline 1's.
    let archive = || {
        let past = holdings(1)
            .days(1, 2..=24)
            .backup(1, 3, &[])
            .backup(1, 10, &[]);
        let past = past.backup(1, 14, &[]).backup(1, 18, &[]);
        let mut now = past.history(2, 1, 12);
        now.histories.get_mut(&TimelineId(2)).unwrap().modified = day(25);
        for number in 12..=40 {
            now.wal.push(WalFile {
                name: SegmentName::numbered(number, TimelineId(2), size()).into(),
                modified: day(number as i64 + 13),
                waits: false,
            });
        }
        now
    };
    let decision = prune(&rules(30, 10, 0), &[archive()]);
    assert_eq!(
        kept(&decision),
        [
            ("day10", Kept::Base(TimelineId(2))),
            ("day18", Kept::Base(TimelineId(1))),
        ]
    );
    // A month later timeline 1 is no moment of the window any more.
    let decision = prune(&rules(60, 10, 0), &[archive()]);
    assert_eq!(kept(&decision), [("day10", Kept::Base(TimelineId(2)))]);
    // But day 10's backup still needs its WAL from there on, whatever follows.
    assert!(!told(&decision).contains("1:10"));
}

#[test]
fn what_pg_upgrade_left_stays_as_long_as_the_window_reaches_it() {
    let old = || {
        holdings(1)
            .days(1, 2..=20)
            .backup(1, 3, &[])
            .backup(1, 10, &[])
    };
    let new = |from| {
        let mut new = holdings(2).days(1, from..=60).backup(1, from, &[]);
        new.opened = Some(day(from));
        new
    };
    let decision = prune(&rules(31, 10, 0), &[old(), new(25)]);
    assert_eq!(kept(&decision)[0], ("day10", Kept::Base(TimelineId(1))));
    let decision = prune(&rules(36, 10, 0), &[old(), new(25)]);
    assert_eq!(kept(&decision), [("day25", Kept::Base(TimelineId(1)))]);
    assert!(told(&decision).ends_with("1:20"));
    // No backup of the new cluster yet: the old one's are the newest.
    let mut bare = new(25);
    bare.backups.clear();
    let decision = prune(&rules(36, 10, 2), &[old(), bare]);
    assert_eq!(decision.backups.len(), 2);
}

#[test]
fn adopted_wal_without_a_backup_stays_one_window() {
    let archive = holdings(1).days(1, 2..=20);
    let decision = prune(&rules(20, 10, 2), &[archive]);
    assert_eq!(
        told(&decision),
        (2..=10)
            .map(|it| format!("1:{it}"))
            .collect::<Vec<_>>()
            .join(" ")
    );
    assert!(
        decision
            .delete
            .iter()
            .all(|it| it.why == Gone::WithoutBackup)
    );
    // Nobody knows what it descends from.
    let orphan = holdings(1).days(3, 2..=5).days(1, 2..=20).backup(1, 2, &[]);
    let decision = prune(&rules(20, 10, 2), &[orphan]);
    assert_eq!(told(&decision), "");
}

#[test]
fn a_running_backup_fences_what_it_may_need() {
    let archive = || {
        let archive = holdings(1)
            .days(1, 2..=20)
            .backup(1, 3, &[1])
            .backup(1, 4, &[2]);
        let mut archive = archive.backup(1, 9, &[3]);
        archive.data.push(Data {
            id: ObjectId(9),
            modified: day(5),
            shared: false,
        });
        archive
    };
    let start = Lsn(7 * size().bytes());
    let today = rules(20, 10, 0);
    let free = prune(&today, &[archive()]);
    assert_eq!(
        told(&free),
        "day3 day4 #1 #2 #9 1:2 1:3 1:4 1:5 1:6 1:7 1:8"
    );
    let on_day3 = archive().running(Some(start), 20, Some(&["day3"]));
    // What is stored of it is in no manifest yet.
    assert_eq!(told(&prune(&today, &[on_day3])), "day4 #2 1:2");
    let full = archive().running(Some(start), 20, Some(&[]));
    assert_eq!(
        told(&prune(&today, &[full])),
        "day3 day4 #1 #2 1:2 1:3 1:4 1:5 1:6"
    );
    for unsaid in [None, Some(&["gone"][..])] {
        let unsaid = archive().running(None, 20, unsaid);
        assert_eq!(told(&prune(&today, &[unsaid])), "");
    }
    let dead = archive().running(None, 18, None);
    assert_eq!(
        told(&prune(&today, &[dead])),
        format!("{} !new", told(&free))
    );
}

#[test]
fn a_backup_is_deleted_with_what_nobody_else_refers_to() {
    let archive = holdings(1)
        .days(1, 2..=20)
        .backup(1, 3, &[1, 2])
        .backup(1, 9, &[2, 3]);
    let mut leftover = archive.clone();
    leftover.data.push(Data {
        id: ObjectId(9),
        modified: day(3),
        shared: false,
    });
    let ids = ["day9".to_owned()];
    let decision = delete_backups(&rules(20, 10, 2), &leftover, &ids);
    assert_eq!(told(&decision), "day9 #3");
    assert_eq!(kept(&decision), [("day3", Kept::NotAsked)]);
    let fenced = archive.running(None, 20, Some(&["day9"]));
    assert_eq!(told(&delete_backups(&rules(20, 10, 2), &fenced, &ids)), "");
}

#[test]
fn what_is_named_by_its_content_waits_for_the_end_of_a_running_backup() {
    let mut archive = holdings(1)
        .days(1, 2..=20)
        .backup(1, 3, &[1, 2])
        .backup(1, 9, &[3]);
    archive.data[1].shared = true;
    let running = archive.clone().running(None, 20, Some(&[]));
    let today = rules(20, 10, 0);
    assert_eq!(told(&prune(&today, &[running])), "day3 #1");
    assert!(told(&prune(&today, &[archive])).starts_with("day3 #1 #2 "));
}

#[test]
fn a_store_that_lacks_a_backup_keeps_what_it_needs_alone() {
    let archive = |both: bool| {
        let mut archive = holdings(1)
            .days(1, 2..=20)
            .backup(1, 3, &[1])
            .backup(1, 6, &[2])
            .backup(1, 9, &[3]);
        for backup in &mut archive.backups {
            backup.stores = BTreeSet::from([0, 1]);
        }
        if !both {
            archive.backups[2].stores.remove(&1);
        }
        archive
    };
    let today = rules(20, 10, 0);
    assert_eq!(
        told(&prune(&today, &[archive(true)])),
        "day3 day6 #1 #2 1:2 1:3 1:4 1:5 1:6 1:7 1:8"
    );
    let decision = prune(&today, &[archive(false)]);
    assert_eq!(told(&decision), "day3 #1 1:2 1:3 1:4 1:5");
    assert_eq!(kept(&decision)[0], ("day6", Kept::Base(TimelineId(1))));
}

#[test]
fn what_is_staged_for_a_store_stays() {
    let mut archive = holdings(1).days(1, 2..=20).backup(1, 9, &[]);
    archive.wal[1].waits = true;
    let decision = prune(&rules(20, 10, 0), &[archive]);
    assert_eq!(told(&decision), "1:2 1:4 1:5 1:6 1:7 1:8");
    assert_eq!(decision.wal[0].why, Kept::Waits);
}

#[test]
fn a_timeline_on_the_way_to_another_is_kept_without_its_own_history() {
    let archive = holdings(1).days(1, 2..=5).days(2, 5..=8).days(3, 8..=40);
    let mut archive = archive.backup(1, 3, &[]).history(3, 1, 5);
    let ancestors = &mut archive.histories.get_mut(&TimelineId(3)).unwrap().ancestors;
    ancestors.extend(history::parse(&format!("2\t{}\tgone\n", Lsn(8 << 20))).unwrap());
    let decision = prune(&rules(40, 10, 1), &[archive]);
    assert_eq!(told(&decision), "1:2");
}
