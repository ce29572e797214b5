//! What Linux says of this process. Elsewhere, and where `/proc` is hidden, nothing is known.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Linux tells times of processes in hundredths of a second on every architecture.
const TICKS_PER_SECOND: f64 = 100.0;

/// What is known of this process.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(super) struct Process {
    /// User and system CPU time, seconds.
    pub(super) cpu_seconds: Option<f64>,
    /// Open file descriptors.
    pub(super) open_fds: Option<u64>,
    /// Most file descriptors that may be open.
    pub(super) max_fds: Option<u64>,
    /// Virtual memory, bytes.
    pub(super) virtual_bytes: Option<u64>,
    /// Resident memory, bytes.
    pub(super) resident_bytes: Option<u64>,
    /// When it started, seconds since 1970.
    pub(super) start_seconds: Option<f64>,
    /// Threads.
    pub(super) threads: Option<u64>,
}

impl Process {
    /// Looks now.
    pub(super) fn now() -> Process {
        let read = |file: &str| std::fs::read_to_string(format!("/proc/{file}")).unwrap_or_default();
        let (stat, status) = (read("self/stat"), read("self/status"));
        Process {
            cpu_seconds: cpu_seconds(&stat),
            // The folder that is read is open itself.
            open_fds: std::fs::read_dir("/proc/self/fd").ok().map(|files| (files.count() as u64).saturating_sub(1)),
            max_fds: max_fds(&read("self/limits")),
            virtual_bytes: field(&status, "VmSize:").map(|kib| kib << 10),
            resident_bytes: field(&status, "VmRSS:").map(|kib| kib << 10),
            start_seconds: start_seconds(&stat, &read("stat")),
            threads: field(&status, "Threads:"),
        }
    }
}

/// The fields of `/proc/self/stat` after the program's name, which may hold anything.
fn after_name(stat: &str) -> Option<Vec<&str>> {
    Some(stat.rsplit_once(')')?.1.split_ascii_whitespace().collect())
}

fn cpu_seconds(stat: &str) -> Option<f64> {
    let fields = after_name(stat)?;
    let ticks = |index: usize| fields.get(index)?.parse::<f64>().ok();
    // Fields 14 and 15 of proc(5), of which the first after the name is the third.
    Some((ticks(11)? + ticks(12)?) / TICKS_PER_SECOND)
}

fn start_seconds(stat: &str, system: &str) -> Option<f64> {
    // Field 22 of proc(5), counted from the system's start.
    let since_boot: f64 = after_name(stat)?.get(19)?.parse().ok()?;
    Some(field(system, "btime")? as f64 + since_boot / TICKS_PER_SECOND)
}

fn max_fds(limits: &str) -> Option<u64> {
    let line = limits.lines().find_map(|line| line.strip_prefix("Max open files"))?;
    line.split_ascii_whitespace().next()?.parse().ok()
}

/// The first number of the line that begins with `name`.
fn field(text: &str, name: &str) -> Option<u64> {
    text.lines().find_map(|line| line.strip_prefix(name))?.split_ascii_whitespace().next()?.parse().ok()
}

/// Seconds since 1970, with the fraction.
pub(super) fn unix_seconds(time: SystemTime) -> f64 {
    time.duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO).as_secs_f64()
}

/// Milliseconds since 1970.
pub(super) fn unix_milliseconds(time: SystemTime) -> u64 {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO);
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    const STAT: &str = "42 (a b) c) S 1 1 1 0 -1 4194304 9 0 0 0 150 50 0 0 20 0 7 0 12345 1000 5 18446744073709551615";

    #[test]
    fn figures_are_found_behind_any_name() {
        assert_eq!(cpu_seconds(STAT), Some(2.0));
        assert_eq!(start_seconds(STAT, "cpu 1\nbtime 1000\n"), Some(1123.45));
        assert_eq!(max_fds("Limit\nMax open files            1024                 4096  files\n"), Some(1024));
        assert_eq!(field("Name:\tx\nVmRSS:\t  12 kB\n", "VmRSS:"), Some(12));
        assert_eq!(
            (cpu_seconds(""), start_seconds("1 (x)", ""), max_fds("Max open files unlimited")),
            (None, None, None)
        );
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn this_process_is_known() {
        let now = Process::now();
        assert!(now.cpu_seconds.is_some() && now.open_fds > Some(0) && now.max_fds >= now.open_fds);
        assert!(now.resident_bytes > Some(1 << 20) && now.virtual_bytes > now.resident_bytes && now.threads > Some(0));
        let age = unix_seconds(SystemTime::now()) - now.start_seconds.unwrap();
        assert!((-1.0..3600.0).contains(&age), "{age}");
    }
}
