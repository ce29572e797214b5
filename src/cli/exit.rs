//! Exit codes: each kind of failure has one, documented here and in `docs/reference/exit-codes.md`.

use std::process::ExitCode;

/// How the command ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exit {
    /// Done.
    Done,
    /// A fault of nimify itself.
    Internal,
    /// A wrong flag or argument.
    Usage,
    /// The model can't be read, loaded or served.
    Model,
    /// `nimify.yaml`, a flag's value or the lock file is wrong.
    Config,
    /// A tool or library that is needed isn't there.
    Tool,
    /// Code generation, compilation, image or chart failed.
    Build,
    /// A digest or signature doesn't hold, or the signer isn't trusted.
    Trust,
    /// A deployment failed.
    Deployment,
    /// Something on the network didn't answer as it should.
    Network,
    /// A file or folder can't be read or written, or stands in the way.
    Files,
    /// Ctrl-C or SIGTERM.
    Interrupted,
}

impl Exit {
    /// Every way to end, in the order of the codes.
    pub const ALL: [Exit; 12] = [
        Exit::Done,
        Exit::Internal,
        Exit::Usage,
        Exit::Model,
        Exit::Config,
        Exit::Tool,
        Exit::Build,
        Exit::Trust,
        Exit::Deployment,
        Exit::Network,
        Exit::Files,
        Exit::Interrupted,
    ];

    /// The process's exit code.
    pub fn code(self) -> u8 {
        match self {
            Exit::Done => 0,
            Exit::Internal => 1,
            Exit::Usage => 2,
            Exit::Model => 3,
            Exit::Config => 4,
            Exit::Tool => 5,
            Exit::Build => 6,
            Exit::Trust => 7,
            Exit::Deployment => 8,
            Exit::Network => 9,
            Exit::Files => 10,
            // 128 + SIGINT, as shells do.
            Exit::Interrupted => 130,
        }
    }

    /// What the code says, in a line.
    pub fn meaning(self) -> &'static str {
        match self {
            Exit::Done => "done",
            Exit::Internal => "a fault of nimify itself",
            Exit::Usage => "a wrong flag or argument",
            Exit::Model => "the model can't be read, loaded or served",
            Exit::Config => "`nimify.yaml`, a setting or the lock file is wrong",
            Exit::Tool => "a tool or library that is needed isn't there",
            Exit::Build => "generating, compiling or packing failed",
            Exit::Trust => "a digest or signature doesn't hold, or the signer isn't trusted",
            Exit::Deployment => "the deployment failed",
            Exit::Network => "something on the network didn't answer as it should",
            Exit::Files => "a file or folder can't be read or written, or stands in the way",
            Exit::Interrupted => "stopped by Ctrl-C or SIGTERM; nothing is left half written",
        }
    }

    /// What to do about it, in a few sentences: the text of `nimify explain`.
    pub fn advice(self) -> &'static str {
        match self {
            Exit::Done => "Nothing to do.",
            Exit::Internal => {
                "This should not happen. Run the command again with `RUST_BACKTRACE=1` and report the output."
            }
            Exit::Usage => "`nimify COMMAND --help` lists the flags of a command with their meaning.",
            Exit::Model => {
                "The message names the file, the place in it and what was expected there. `nimify inspect MODEL` shows \
                 what can be read of it without running it; `--probe` also loads it into ONNX Runtime."
            }
            Exit::Config => {
                "The message gives line and column. `nimify schema` prints the JSON Schema of `nimify.yaml` for editors. \
                 With `--locked`, the message lists what differs from `nimify.lock`: build without the flag to accept it."
            }
            Exit::Tool => "`nimify doctor` lists every tool, where it was looked for and how to get it.",
            Exit::Build => {
                "The compiler's own message stands above. If a generated file was edited, move the edit to \
                 `service/src/hooks.rs`, which is yours, or pass `--discard-edits`. If the image is larger than its \
                 `image.budget`, the message lists the largest files: make the model smaller or raise the budget."
            }
            Exit::Trust => {
                "Compare the digest with the one you expect, and the key with its owner's. A key beside an image is never \
                 a reason to trust it: pass the key you trust with `--key`."
            }
            Exit::Deployment => {
                "The message carries the cluster's own reason, read before anything was undone, and says how everything was \
                 left. `nimify status` says what runs now, `nimify history` what was tried, `nimify rollback` goes back."
            }
            Exit::Network => {
                "Check the address, the proxy settings and your credentials; `--offline` works once the caches are warm."
            }
            Exit::Files => {
                "The message names the path. An output folder that nimify did not write is never touched: choose another \
                 with `--output`, or move it away."
            }
            Exit::Interrupted => "Run the command again: finished steps come from the cache.",
        }
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        ExitCode::from(exit.code())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_distinct_and_leave_the_shells_own_alone() {
        let mut codes: Vec<u8> = Exit::ALL.iter().map(|exit| exit.code()).collect();
        codes.dedup();
        assert_eq!(codes.len(), Exit::ALL.len());
        assert!(codes.iter().all(|&code| code < 64 || code == 130));
    }
}
