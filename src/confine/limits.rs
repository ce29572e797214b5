//! What a child that loads an unknown model may use: memory, time, files, the network, privileges.

use std::io;

use rustix::process::{Resource, Rlimit, Signal};
use rustix::thread::UnshareFlags;
use serde::{Deserialize, Serialize};

/// The limits of one child.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Limits {
    /// Address space, bytes.
    pub address_space: u64,
    /// Processor time, seconds.
    pub cpu_seconds: u64,
    /// From start to end, seconds: the parent's to enforce.
    pub wall_seconds: u64,
    /// Bytes that a file which it writes may have; 0 where it has nothing to write.
    pub file_bytes: u64,
}

impl Limits {
    /// Limits for a model of this many bytes, external data included: loading holds the weights a few times over
    /// (file, tensors, prepacked copies), and reads them from a disk that may be slow.
    pub fn for_model(bytes: u64) -> Limits {
        const GIB: u64 = 1 << 30;
        let gib = bytes.div_ceil(GIB);
        Limits {
            address_space: bytes.saturating_mul(6).saturating_add(4 * GIB),
            cpu_seconds: 60u64.saturating_add(gib.saturating_mul(60)),
            wall_seconds: 120u64.saturating_add(gib.saturating_mul(120)),
            file_bytes: 0,
        }
    }

    /// Puts the limits on this process, for good. Called before anything of the model is read.
    ///
    /// What is a limit of resources has to succeed. Leaving the network and the parent's privileges is refused by some
    /// containers, and is done where it can be.
    pub fn enter(&self, parent: u32) -> io::Result<()> {
        rustix::process::set_parent_process_death_signal(Some(Signal::KILL))?;
        if rustix::process::getppid().is_none_or(|pid| pid.as_raw_pid().unsigned_abs() != parent) {
            return Err(io::Error::other("the parent process is gone"));
        }
        rustix::thread::set_no_new_privs(true)?;
        limit(Resource::As, self.address_space)?;
        limit(Resource::Cpu, self.cpu_seconds)?;
        limit(Resource::Core, 0)?;
        limit(Resource::Fsize, self.file_bytes)?;
        limit(Resource::Nofile, 256)?;
        leave_network();
        Ok(())
    }
}

fn limit(resource: Resource, value: u64) -> io::Result<()> {
    let hard = rustix::process::getrlimit(resource).maximum;
    let value = hard.map_or(value, |hard| hard.min(value));
    // The soft limit of processor time sends SIGXCPU, which tells why; the hard one a second later SIGKILL.
    let maximum = if matches!(resource, Resource::Cpu) { value.saturating_add(1) } else { value };
    let maximum = hard.map_or(maximum, |hard| hard.min(maximum));
    Ok(rustix::process::setrlimit(resource, Rlimit { current: Some(value), maximum: Some(maximum) })?)
}

/// Moves into a network namespace without interfaces. Alone first, which needs privileges but keeps them: in a user
/// namespace of its own a process loses the right to read files of other users that root has.
#[expect(unsafe_code, reason = "`unshare` is unsafe because of CLONE_FILES, which is not asked for")]
fn leave_network() {
    // SAFETY: only CLONE_FILES breaks what other threads rely on; neither flag concerns file descriptors.
    let leave = |flags| unsafe { rustix::thread::unshare_unsafe(flags) };
    if leave(UnshareFlags::NEWNET).is_err() {
        let _ = leave(UnshareFlags::NEWUSER | UnshareFlags::NEWNET);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_grow_with_the_model_and_never_overflow() {
        let small = Limits::for_model(5000);
        assert!(small.address_space >= 4 << 30 && small.cpu_seconds <= 120);
        let large = Limits::for_model(20 << 30);
        assert!(large.address_space > 100 << 30 && large.wall_seconds > small.wall_seconds);
        assert_eq!(Limits::for_model(u64::MAX).address_space, u64::MAX);
    }
}
