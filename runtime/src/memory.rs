//! The memory of requests: given back to the system when they are over.
//!
//! glibc asks the system for each large block apart, at first; but with the first that is freed it takes blocks of that
//! size for usual, up to 32 MiB, and keeps them from then on. A service that once had many images in work would hold
//! their memory until its end.

/// Blocks from this size on go back at once. Below it, the system's work for each block is felt: with 256 KiB a
/// convolution net answers a seventh fewer requests, with 1 MiB as many as ever.
#[cfg(target_env = "gnu")]
const LARGE: i32 = 1 << 20;

/// So much is kept of what smaller blocks have left free.
#[cfg(target_env = "gnu")]
const KEPT: i32 = 4 << 20;

/// Has glibc give large blocks back, whatever it sees later. Another C library is left as it is.
pub(crate) fn give_back() {
    #[cfg(target_env = "gnu")]
    #[expect(unsafe_code, reason = "a call of the C library")]
    for (limit, bytes) in [(libc::M_MMAP_THRESHOLD, LARGE), (libc::M_TRIM_THRESHOLD, KEPT)] {
        // SAFETY: it takes two numbers, sets a limit under the allocator's own lock, and changes no block. Where it
        // fails, the limit stays as it was.
        unsafe { libc::mallopt(limit, bytes) };
    }
}

#[cfg(test)]
mod tests {
    /// Bytes of this process that are in memory.
    fn resident() -> usize {
        let status = std::fs::read_to_string("/proc/self/status").unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
        line.trim_end_matches("kB").trim().parse::<usize>().unwrap() << 10
    }

    /// A block as large as which glibc would keep others, and then many of which the last stays, so that nothing below
    /// it could be trimmed.
    fn serves_and_rests() {
        super::give_back();
        drop(vec![1u8; 24 << 20]);
        let before = resident();
        let mut blocks: Vec<Vec<u8>> = (0..64).map(|_| vec![1; 4 << 20]).collect();
        assert!(resident() > before + (200 << 20));
        blocks.drain(..63);
        assert!(resident() < before + (16 << 20), "{} kept", resident() - before);
    }

    /// In a process of its own, where no other test takes memory meanwhile.
    #[test]
    fn what_large_requests_took_is_given_back() {
        const ALONE: &str = "NIMIFY_TEST_ALONE";
        if std::env::var_os(ALONE).is_some() {
            return serves_and_rests();
        }
        let test = std::thread::current().name().unwrap().to_string();
        let mut alone = std::process::Command::new(std::env::current_exe().unwrap());
        let output = alone.args(["--exact", &test]).env(ALONE, "1").output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
        assert!(String::from_utf8_lossy(&output.stdout).contains("1 passed"));
    }
}
