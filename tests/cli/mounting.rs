//! `reelfs mount` and `reelfs umount`.

use std::fs;

use crate::support::Sandbox;

#[test]
fn umount_takes_off_all_that_mount_has_mounted() {
    let sandbox = Sandbox::with_repository();
    sandbox.write("file", "x");
    sandbox.backup(&[]);
    let mountpoint = sandbox.path("mnt");
    fs::create_dir(&mountpoint).unwrap();
    let shown = mountpoint.to_str().unwrap();
    let mount_count = || {
        let table = fs::read_to_string("/proc/self/mountinfo").unwrap();
        table.lines().filter(|line| line.split(' ').nth(4).is_some_and(|at| at.starts_with(shown))).count()
    };
    for (options, count) in [("submount", 4), ("nosubmount", 3), ("nosubmount,nostaging,notapes", 1)] {
        sandbox.good(&["mount", "-o", options, shown]);
        let mounted = mount_count();
        let ended = sandbox.run(&["umount", shown]);
        let left = mount_count();
        if ended.code != 0 {
            sandbox.good(&["umount", "--lazy", shown]);
        }
        assert_eq!((mounted, left, ended.code), (count, 0, 0), "{options}: {ended:?}");
    }
}
