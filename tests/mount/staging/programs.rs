//! Programs at work in staging, compared with what they do on the file system below.

use std::fs;
use std::path::Path;

use super::{Stage, has};
use crate::support::{Random, can_mount, shell_ok};
use crate::tree::{grow, look};

// Same names, attributes, content, hard links and xattrs; times of directories included.
fn same(left: &Path, right: &Path) {
    shell_ok(
        "test -z \"$(rsync -aHAXnci --delete $1/ $2/)\" || { rsync -aHAXnci --delete $1/ $2/ | head -20; false; }",
        &[left, right],
    );
}

// All that can be seen, holes and times of change included.
fn same_to_the_nanosecond(left: &Path, right: &Path) {
    let (mut left, mut right) = (look(left), look(right));
    // The directory of a generation has the generation's date.
    left.remove(Path::new(""));
    right.remove(Path::new(""));
    for (path, seen) in &left {
        assert_eq!(Some(seen), right.get(path), "{path:?}");
    }
    assert_eq!(left.len(), right.len());
}

fn random_tree(stage: &Stage, seed: u64, object_count: u64) {
    println!("seed {seed}");
    grow(&stage.site.source, &mut Random(seed), object_count);
}

#[test]
fn rsync_copies_a_tree_and_finds_nothing_to_do_the_second_time() {
    if !can_mount() || !has("rsync") {
        return;
    }
    let mut stage = Stage::new();
    random_tree(&stage, 11, 400);
    let copy = "rsync -aHAX --delete --out-format=%n $1/ $2/home/";
    shell_ok("mkdir $1/home", &[&stage.root()]);
    shell_ok(copy, &[&stage.site.source, &stage.root()]);
    same(&stage.site.source, &stage.path("home"));
    assert_eq!(shell_ok(copy, &[&stage.site.source, &stage.root()]), "");
    shell_ok(
        "cd $1; find . -mindepth 1 -maxdepth 1 -print0 | head -zn 3 | xargs -0 rm -r; echo new > new; chmod 600 new",
        &[&stage.site.source],
    );
    shell_ok(copy, &[&stage.site.source, &stage.root()]);
    same(&stage.site.source, &stage.path("home"));
    let before = look(&stage.path("home"));
    stage.remount();
    same(&stage.site.source, &stage.path("home"));
    assert!(before == look(&stage.path("home")), "a remount shows the same, to the nanosecond");
    assert_eq!(shell_ok(copy, &[&stage.site.source, &stage.root()]), "");
}

#[test]
fn rsync_works_in_all_its_ways() {
    if !can_mount() || !has("rsync") {
        return;
    }
    let stage = Stage::new();
    let source = &stage.site.source;
    fs::write(source.join("big"), Random(3).bytes(3 << 20)).unwrap();
    fs::write(source.join("log"), Random(4).bytes(1 << 20)).unwrap();
    shell_ok(
        "truncate -s 9M $1/sparse; printf x | dd of=$1/sparse seek=5000000 bs=1 conv=notrunc",
        &[source],
    );
    shell_ok("mkdir $1/full $1/daily", &[&stage.root()]);
    shell_ok("rsync -a --sparse $1/ $2/full/", &[source, &stage.root()]);
    same(source, &stage.path("full"));
    assert!(shell_ok("stat -c %b $1/full/sparse", &[&stage.root()]).trim().parse::<u64>().unwrap() < 1000);

    let mut big = fs::read(source.join("big")).unwrap();
    big[1_500_000..1_600_000].reverse();
    fs::write(source.join("big"), &big).unwrap();
    let number = shell_ok("stat -c %i $1/full/big", &[&stage.root()]);
    shell_ok("rsync -ac --inplace --no-whole-file $1/ $2/full/", &[source, &stage.root()]);
    same(source, &stage.path("full"));
    assert_eq!(shell_ok("stat -c %i $1/full/big", &[&stage.root()]), number);

    shell_ok("cat $1/big >> $1/log", &[source]);
    shell_ok("rsync -a --append $1/ $2/full/", &[source, &stage.root()]);
    same(source, &stage.path("full"));

    shell_ok("echo changed > $1/new", &[source]);
    shell_ok("rsync -a --link-dest=../full $1/ $2/daily/", &[source, &stage.root()]);
    same(source, &stage.path("daily"));
    assert_eq!(
        shell_ok("stat -c %i $1/full/big", &[&stage.root()]),
        shell_ok("stat -c %i $1/daily/big", &[&stage.root()])
    );
    assert_eq!(shell_ok("stat -c %h $1/daily/big", &[&stage.root()]), "2\n");

    shell_ok(
        "rsync -a --partial --bwlimit=4m $1/big $2/partial & sleep 0.3; kill $!; wait",
        &[source, &stage.root()],
    );
    shell_ok("rsync -a --partial $1/big $2/partial; cmp $1/big $2/partial", &[source, &stage.root()]);
    shell_ok(
        "rsync -a --delete --delay-updates $1/ $2/full/; rsync -a --delete /var/empty/ $2/daily/ || rm -r $2/daily",
        &[source, &stage.root()],
    );
    same(source, &stage.path("full"));
}

#[test]
fn cp_and_tar_make_equal_trees() {
    if !can_mount() {
        return;
    }
    let mut stage = Stage::new();
    random_tree(&stage, 12, 400);
    // tar passes over sockets, and makes several of a FIFO or a device with several names.
    shell_ok(
        "find $1 '(' -type s -o ! -type f ! -type d ! -type l -links +1 ')' -delete",
        &[&stage.site.source],
    );
    shell_ok("cp -a --reflink=auto $1 $2/copied", &[&stage.site.source, &stage.root()]);
    shell_ok(
        "mkdir $2/unpacked; tar --xattrs --acls --xattrs-include='*' --sparse -C $1 -cf - . |
         tar --xattrs --acls --xattrs-include='*' --sparse -C $2/unpacked -xpf -",
        &[&stage.site.source, &stage.root()],
    );
    same(&stage.site.source, &stage.path("copied"));
    same(&stage.site.source, &stage.path("unpacked"));
    // From staging to staging.
    shell_ok("cp -a $1/copied $1/again; mv $1/copied $1/moved", &[&stage.root()]);
    stage.remount();
    same(&stage.site.source, &stage.path("again"));
    same(&stage.site.source, &stage.path("moved"));
    shell_ok("rm -r $1/again $1/moved $1/unpacked; test -z \"$(ls -A $1)\"", &[&stage.root()]);
}

#[test]
fn git_clones_commits_and_collects_garbage() {
    if !can_mount() || !has("git") {
        return;
    }
    let stage = Stage::new();
    shell_ok(
        "export HOME=$1 GIT_CONFIG_NOSYSTEM=1 GIT_AUTHOR_NAME=a GIT_AUTHOR_EMAIL=a GIT_COMMITTER_NAME=a GIT_COMMITTER_EMAIL=a
         cd $1; git init -q --initial-branch=main origin; cd origin
         for i in $(seq 40); do echo $i > file-$i; git add .; git commit -qm $i; done
         cd $2; git clone -q $1/origin clone; cd clone
         for i in $(seq 20); do echo $i >> file-1; git commit -qam more-$i; done
         git gc -q; git repack -qad; git fsck --strict; test -z \"$(git status --porcelain)\"
         git checkout -q HEAD~30; git checkout -q main; test $(git log --oneline | wc -l) = 60",
        &[&stage.site.root, &stage.root()],
    );
}

#[test]
fn a_database_works() {
    if !can_mount() || !has("sqlite3") {
        return;
    }
    let mut stage = Stage::new();
    for mode in ["delete", "wal"] {
        let path = stage.path(&format!("{mode}.sqlite"));
        shell_ok(
            &format!(
                "sqlite3 $1 'pragma journal_mode={mode}; create table t(a integer primary key, b text);
                 with recursive n(i) as (select 1 union all select i + 1 from n where i < 5000)
                 insert into t select i, hex(randomblob(50)) from n;
                 update t set b = b || a where a % 7 = 0; delete from t where a % 11 = 0;'
                 for i in 1 2 3 4; do
                     sqlite3 -cmd '.timeout 20000' $1 \"insert into t(b) select 'x' || $i from t limit 200\" & done; wait
                 sqlite3 $1 vacuum; test \"$(sqlite3 $1 'pragma integrity_check')\" = ok"
            ),
            &[&path],
        );
    }
    stage.remount();
    for mode in ["delete", "wal"] {
        let path = stage.path(&format!("{mode}.sqlite"));
        let count = shell_ok("sqlite3 $1 'pragma integrity_check; select count(*) from t'", &[&path]);
        assert_eq!(count, format!("ok\n{}\n", 5000 - 454 + 800));
    }
}

#[test]
fn staging_begins_as_the_last_generation_and_takes_every_change_to_it() {
    if !can_mount() || !has("rsync") {
        return;
    }
    let mut site = crate::support::Site::new();
    println!("seed 13");
    grow(&site.source, &mut Random(13), 300);
    site.backup("web1");
    let mut stage = Stage::on(site);
    same(&stage.site.source, &stage.root());
    same_to_the_nanosecond(&stage.mount().path("clients/web1/latest/"), &stage.root());
    fs::create_dir(stage.site.source.join("more")).unwrap();
    grow(&stage.site.source.join("more"), &mut Random(14), 100);
    shell_ok(
        "cd $1; find . -type f -print0 | head -zn 20 | xargs -0 -n 1 sh -c 'echo more >> \"$0\"'",
        &[&stage.site.source],
    );
    shell_ok("rsync -aHAX --delete --inplace $1/ $2/", &[&stage.site.source, &stage.root()]);
    same(&stage.site.source, &stage.root());
    stage.remount();
    same(&stage.site.source, &stage.root());
}
