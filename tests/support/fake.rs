//! Stand-ins for programs that nimify runs: they fail, or they take for ever.

use std::path::{Path, PathBuf};

use crate::command::set_mode;

/// A folder to put on `PATH`, with a program `name` that is this shell script.
pub(crate) fn program(folder: &Path, name: &str, script: &str) -> PathBuf {
    let bin = folder.join("bin");
    std::fs::create_dir_all(&bin).expect("a folder for programs");
    let path = bin.join(name);
    std::fs::write(&path, format!("#!/bin/sh\n{script}\n")).expect("the script is written");
    set_mode(&path, 0o755);
    bin
}

/// A program that notes its process id in `mark` and then sleeps: whoever waits for the mark knows that it runs.
pub(crate) fn sleeper(folder: &Path, name: &str, mark: &Path) -> PathBuf {
    let mark = mark.display();
    program(folder, name, &format!("echo $$ > {mark}.new && mv {mark}.new {mark} && exec sleep 600"))
}

/// `PATH` with this folder before all others.
pub(crate) fn path_with(bin: &Path) -> std::ffi::OsString {
    let old = std::env::var_os("PATH").unwrap_or_default();
    let paths = [bin.to_path_buf()].into_iter().chain(std::env::split_paths(&old));
    std::env::join_paths(paths).expect("no colon in a folder of ours")
}

/// Whether a process is there and no zombie.
pub(crate) fn runs(pid: u32) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit_once(") ").is_some_and(|(_, rest)| !rest.starts_with('Z'))
}

/// The children of a process.
pub(crate) fn children(parent: u32) -> Vec<u32> {
    let processes = std::fs::read_dir("/proc").expect("/proc is there").flatten();
    let ids = processes.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    ids.filter(|pid| {
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        // After the name in parentheses: the state, then the parent.
        let parents = stat.rsplit_once(") ").and_then(|(_, rest)| rest.split(' ').nth(1)?.parse::<u32>().ok());
        parents == Some(parent)
    })
    .collect()
}
