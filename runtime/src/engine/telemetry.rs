//! ONNX Runtime's telemetry: off.
//!
//! The library's official builds for Linux make a device id and a database of events in the user's cache folder as
//! they are opened, and try to send them. What can be asked of an environment comes too late: only the variable
//! `ORT_DISABLE_TELEMETRY` is looked at before.

const VARIABLE: &str = "ORT_DISABLE_TELEMETRY";

/// Turns telemetry off for this process and those that it starts. To be called first in `main`: once there are other
/// threads, which may be reading the environment, nothing is changed.
#[expect(unsafe_code, reason = "the library is told by the environment alone, and changing that is unsafe")]
pub fn turn_off_telemetry() {
    if std::env::var_os(VARIABLE).is_some_and(|value| value == "1") || !is_only_thread() {
        return;
    }
    // SAFETY: no other thread exists, so that none reads or writes the environment meanwhile.
    unsafe { std::env::set_var(VARIABLE, "1") };
}

fn is_only_thread() -> bool {
    let threads = std::fs::read_dir("/proc/self/task");
    threads.is_ok_and(|threads| threads.take(2).count() == 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn beside_other_threads_the_environment_is_left_alone() {
        let (done, wait) = std::sync::mpsc::channel::<()>();
        let other = std::thread::spawn(move || wait.recv());
        assert!(!is_only_thread());
        let before = std::env::var_os(VARIABLE);
        turn_off_telemetry();
        assert_eq!(std::env::var_os(VARIABLE), before);
        drop(done);
        assert!(other.join().unwrap().is_err());
    }
}
