//! How much of the machine this process may use: the least of what the system has and of its cgroups' limits.

use std::path::{Path, PathBuf};

/// Whole threads that the process can keep busy, at least 1.
///
/// More threads than the quota make every one of them wait for the next period, which shows as latency of 100 ms.
pub fn cpu_quota() -> usize {
    // Counts the processors of the affinity mask, which on Linux `available_parallelism` starts from.
    let affinity = std::thread::available_parallelism().map_or(1, |n| n.get());
    let quota = Groups::of_this_process().cpu(&read);
    quota.map_or(affinity, |quota| affinity.min(quota)).max(1)
}

/// Bytes of memory that the process may use; `None` where nobody says.
pub fn memory_limit() -> Option<u64> {
    let machine = read(Path::new("/proc/meminfo")).and_then(|text| memory_total(&text));
    [machine, Groups::of_this_process().memory(&read)].into_iter().flatten().min()
}

fn read(path: &Path) -> Option<String> {
    std::fs::read_to_string(path).ok()
}

/// `MemTotal:       24561234 kB`.
fn memory_total(text: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix("MemTotal:"))?;
    line.trim().strip_suffix("kB")?.trim_end().parse::<u64>().ok()?.checked_mul(1024)
}

/// Reads a file; `None` if it isn't there.
type Read<'a> = &'a dyn Fn(&Path) -> Option<String>;

/// The cgroups that the process is in.
struct Groups {
    /// `/proc/self/cgroup`'s text.
    text: String,
    /// Where cgroups are mounted.
    root: PathBuf,
}

impl Groups {
    fn of_this_process() -> Groups {
        let text = read(Path::new("/proc/self/cgroup")).unwrap_or_default();
        Groups { text, root: "/sys/fs/cgroup".into() }
    }

    /// The smallest quota in whole threads, rounded up.
    fn cpu(&self, read: Read<'_>) -> Option<usize> {
        let quota = |version2, folder: &Path| if version2 { quota_v2(folder, read) } else { quota_v1(folder, read) };
        self.least("cpu", &["cpu", "cpu,cpuacct"], &quota)
    }

    /// The smallest limit in bytes.
    fn memory(&self, read: Read<'_>) -> Option<u64> {
        let limit = |version2, folder: &Path| {
            let file = if version2 { "memory.max" } else { "memory.limit_in_bytes" };
            // `max` is no number, and no limit.
            read(&folder.join(file))?.trim().parse().ok()
        };
        self.least("memory", &["memory"], &limit)
    }

    /// The least that `limit` gives for the process's groups and those above them. It is told whether a folder is of
    /// cgroups' second version; in the first, a controller has `mounts` of its own. `None` where nothing limits.
    fn least<T: Ord>(&self, controller: &str, mounts: &[&str], limit: &dyn Fn(bool, &Path) -> Option<T>) -> Option<T> {
        let mut least: Option<T> = None;
        for line in self.text.lines() {
            let mut fields = line.splitn(3, ':');
            let (Some(_), Some(controllers), Some(group)) = (fields.next(), fields.next(), fields.next()) else {
                continue;
            };
            let version2 = controllers.is_empty();
            if !version2 && !controllers.split(',').any(|name| name == controller) {
                continue;
            }
            for folder in folders(&self.root, if version2 { &[""] } else { mounts }, group) {
                least = [least, limit(version2, &folder)].into_iter().flatten().min();
            }
        }
        least
    }
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

fn quota_v2(folder: &Path, read: Read<'_>) -> Option<usize> {
    let text = read(&folder.join("cpu.max"))?;
    let mut fields = text.split_whitespace();
    // `max` is no number, and no limit.
    let quota = fields.next()?.parse().ok()?;
    whole_threads(quota, fields.next().map_or(Some(100_000), |period| period.parse().ok())?)
}

fn quota_v1(folder: &Path, read: Read<'_>) -> Option<usize> {
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

    /// What `limit` finds for a process in `groups` where the files below the root are these.
    fn found<T>(groups: &str, files: &[(&str, &str)], limit: fn(&Groups, Read<'_>) -> Option<T>) -> Option<T> {
        let files: BTreeMap<PathBuf, String> =
            files.iter().map(|(path, text)| (Path::new("/r").join(path), (*text).to_owned())).collect();
        limit(&Groups { text: groups.into(), root: "/r".into() }, &|path| files.get(path).cloned())
    }

    fn quota(groups: &str, files: &[(&str, &str)]) -> Option<usize> {
        found(groups, files, |groups, read| groups.cpu(read))
    }

    fn memory(groups: &str, files: &[(&str, &str)]) -> Option<u64> {
        found(groups, files, |groups, read| groups.memory(read))
    }

    #[test]
    fn the_smallest_limit_on_the_way_to_the_root_counts() {
        let files = [("a/b/cpu.max", "max 100000\n"), ("a/cpu.max", "150000 100000\n"), ("cpu.max", "400000 100000\n")];
        assert_eq!(quota("0::/a/b\n", &files), Some(2));
        assert_eq!(quota("0::/\n", &files), Some(4));
        assert_eq!(quota("0::/elsewhere\n", &[("cpu.max", "max 100000\n")]), None);
        assert_eq!(quota("0::/../up\n", &[("cpu.max", "50000 100000\n")]), Some(1));
        let files = [("a/b/memory.max", "max\n"), ("a/memory.max", "1000\n"), ("memory.max", "2000\n")];
        assert_eq!(memory("0::/a/b\n", &files), Some(1000));
        assert_eq!(memory("0::/\n", &files), Some(2000));
    }

    #[test]
    fn the_older_cgroups_are_read_too() {
        let groups = "5:memory:/m\n4:cpu,cpuacct:/docker/x\n0::/\n";
        let files = [("cpu/cpu.cfs_quota_us", "250000\n"), ("cpu/cpu.cfs_period_us", "100000\n")];
        assert_eq!(quota(groups, &files), Some(3));
        let files = [("cpu/cpu.cfs_quota_us", "-1\n"), ("cpu/cpu.cfs_period_us", "100000\n")];
        assert_eq!(quota(groups, &files), None);
        let files = [("memory/m/memory.limit_in_bytes", "4096\n"), ("memory/memory.limit_in_bytes", "9000\n")];
        assert_eq!(memory(groups, &files), Some(4096));
    }

    #[test]
    fn nonsense_is_no_limit() {
        assert_eq!(quota("", &[]), None);
        assert_eq!(quota("what\n0:\n::\n", &[("cpu.max", "")]), None);
        assert_eq!(quota("0::/\n", &[("cpu.max", "10 0")]), None);
        assert_eq!(quota("0::/\n", &[("cpu.max", "-5 100000")]), None);
        assert_eq!(memory("0::/\n", &[("memory.max", "-5")]), None);
        for text in ["", "MemTotal:", "MemTotal: x kB", "MemTotal: 5", "MemTotal: 99999999999999999999 kB"] {
            assert_eq!(memory_total(text), None, "{text}");
        }
        assert!(cpu_quota() >= 1);
    }

    #[test]
    fn the_machine_s_own_memory_is_a_limit_too() {
        assert_eq!(memory_total("MemTotal:       24561234 kB\nMemFree: 1 kB\n"), Some(24_561_234 * 1024));
        assert!(memory_limit().is_some_and(|bytes| bytes > 1 << 20));
    }
}
