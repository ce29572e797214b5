//! How many threads this process may keep busy: the least of its CPU affinity and its cgroups' CPU quotas.
//!
//! More threads than the quota make every one of them wait for the next period, which shows as latency of 100 ms.

use std::path::{Path, PathBuf};

/// Whole threads that the process can keep busy, at least 1.
pub fn cpu_quota() -> usize {
    // Counts the processors of the affinity mask, which on Linux `available_parallelism` starts from.
    let affinity = std::thread::available_parallelism().map_or(1, |n| n.get());
    let read = |path: &Path| std::fs::read_to_string(path).ok();
    let groups = read(Path::new("/proc/self/cgroup")).unwrap_or_default();
    let quota = smallest_quota(&groups, Path::new("/sys/fs/cgroup"), &read);
    quota.map_or(affinity, |quota| affinity.min(quota)).max(1)
}

/// The smallest quota, in whole threads rounded up, of the cgroups in `/proc/self/cgroup`'s text and of those above
/// them. `None` where nothing limits the process.
fn smallest_quota(groups: &str, root: &Path, read: &dyn Fn(&Path) -> Option<String>) -> Option<usize> {
    let mut least: Option<usize> = None;
    for line in groups.lines() {
        let mut fields = line.splitn(3, ':');
        let (Some(_), Some(controllers), Some(group)) = (fields.next(), fields.next(), fields.next()) else {
            continue;
        };
        let version2 = controllers.is_empty();
        if !version2 && !controllers.split(',').any(|name| name == "cpu") {
            continue;
        }
        for folder in folders(root, if version2 { &[""] } else { &["cpu", "cpu,cpuacct"] }, group) {
            let quota = if version2 { quota_v2(&folder, read) } else { quota_v1(&folder, read) };
            least = [least, quota].into_iter().flatten().min();
        }
    }
    least
}

/// The group's folder below each mount and every folder above it: a limit anywhere on the way holds. In a container the
/// group's own folder is often what is mounted, so that the mount itself is always among them.
fn folders(root: &Path, mounts: &[&str], group: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for mount in mounts {
        let mount = root.join(mount);
        let own = mount.join(group.trim_start_matches('/'));
        found.extend(own.ancestors().take_while(|folder| folder.starts_with(&mount)).map(Path::to_path_buf));
    }
    found
}

fn quota_v2(folder: &Path, read: &dyn Fn(&Path) -> Option<String>) -> Option<usize> {
    let text = read(&folder.join("cpu.max"))?;
    let mut fields = text.split_whitespace();
    // `max` is no number, and no limit.
    let quota = fields.next()?.parse().ok()?;
    whole_threads(quota, fields.next().map_or(Some(100_000), |period| period.parse().ok())?)
}

fn quota_v1(folder: &Path, read: &dyn Fn(&Path) -> Option<String>) -> Option<usize> {
    let number = |file: &str| read(&folder.join(file))?.trim().parse::<u64>().ok();
    // -1 is no limit, and no unsigned number.
    whole_threads(number("cpu.cfs_quota_us")?, number("cpu.cfs_period_us")?)
}

/// A quota of 1.5 CPUs keeps two threads busy three quarters of the time: better than one thread all of it.
fn whole_threads(quota: u64, period: u64) -> Option<usize> {
    (period > 0).then(|| usize::try_from(quota.div_ceil(period)).unwrap_or(usize::MAX).max(1))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    fn quota(groups: &str, files: &[(&str, &str)]) -> Option<usize> {
        let files: BTreeMap<PathBuf, String> =
            files.iter().map(|(path, text)| (Path::new("/r").join(path), (*text).to_owned())).collect();
        smallest_quota(groups, Path::new("/r"), &|path| files.get(path).cloned())
    }

    #[test]
    fn the_smallest_limit_on_the_way_to_the_root_counts() {
        let files = [("a/b/cpu.max", "max 100000\n"), ("a/cpu.max", "150000 100000\n"), ("cpu.max", "400000 100000\n")];
        assert_eq!(quota("0::/a/b\n", &files), Some(2));
        assert_eq!(quota("0::/\n", &files), Some(4));
        assert_eq!(quota("0::/elsewhere\n", &[("cpu.max", "max 100000\n")]), None);
        assert_eq!(quota("0::/../up\n", &[("cpu.max", "50000 100000\n")]), Some(1));
    }

    #[test]
    fn the_older_cgroups_are_read_too() {
        let groups = "5:memory:/m\n4:cpu,cpuacct:/docker/x\n0::/\n";
        let files = [("cpu/cpu.cfs_quota_us", "250000\n"), ("cpu/cpu.cfs_period_us", "100000\n")];
        assert_eq!(quota(groups, &files), Some(3));
        let files = [("cpu/cpu.cfs_quota_us", "-1\n"), ("cpu/cpu.cfs_period_us", "100000\n")];
        assert_eq!(quota(groups, &files), None);
    }

    #[test]
    fn nonsense_is_no_limit() {
        assert_eq!(quota("", &[]), None);
        assert_eq!(quota("what\n0:\n::\n", &[("cpu.max", "")]), None);
        assert_eq!(quota("0::/\n", &[("cpu.max", "10 0")]), None);
        assert_eq!(quota("0::/\n", &[("cpu.max", "-5 100000")]), None);
        assert!(cpu_quota() >= 1);
    }
}
