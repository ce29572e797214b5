//! The program that a profile of Amazon's names to hand out keys, and its answer.

use std::io::Read;
use std::process::{Command, Stdio};

use zeroize::Zeroizing;

use super::keys::Keys;
use crate::interrupt::OwnedChild;
use crate::source::Error;

/// Most that it may answer, bytes.
const LARGEST_ANSWER: u64 = 1 << 20;

/// Runs the line `command`, which the user's own file `origin` names, as Amazon's tools run it: by the shell.
pub(super) fn ask(command: &str, origin: &str) -> Result<Keys, Error> {
    let origin = format!("`credential_process` in {origin}");
    let failed = |reason: String| Error::Credentials { origin: origin.clone(), reason };
    let mut program = Command::new("/bin/sh");
    // Its words go where the user reads ours: it may have something to say.
    program.args(["-c", command]).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::inherit());
    let mut child = OwnedChild(program.spawn().map_err(|error| failed(format!("it can't be started: {error}")))?);
    let mut text = Zeroizing::new(Vec::new());
    if let Some(stdout) = child.0.stdout.take() {
        stdout.take(LARGEST_ANSWER).read_to_end(&mut text).map_err(|error| failed(error.to_string()))?;
    }
    let status = child.wait().map_err(|error| failed(error.to_string()))?;
    if !status.success() {
        return Err(failed(format!("it ended with {status}")));
    }
    Keys::from_json(&text, &origin)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_hands_out_keys_or_says_nothing_of_them() {
        let keys = ask("echo '{\"Version\":1,\"AccessKeyId\":\"a\",\"SecretAccessKey\":\"b\"}'", "`f`").unwrap();
        assert_eq!((keys.access_key_id.as_str(), keys.secret_access_key.as_str()), ("a", "b"));
        let error = ask("echo 'SecretAccessKey: hush'", "`f`").err().unwrap().to_string();
        assert!(error.contains("`credential_process` in `f`") && !error.contains("hush"), "{error}");
        assert!(ask("exit 3", "`f`").err().unwrap().to_string().contains("exit status: 3"));
    }
}
