//! Why one container of a pod doesn't run, from its status.

use serde_json::Value;

use super::super::objects::{count, plain, text};
use super::{Kind, Reason, WORDS, advice};

/// How many restarts are watched before it is taken for granted that the next one ends the same way.
const RESTARTS: u64 = 3;

/// Why this container doesn't run; `None` where it does, or is about to.
///
/// `status`: of `containerStatuses` or `initContainerStatuses`; `pulling`: what the node said of pulling the image.
pub(super) fn reason(status: &Value, pulling: Option<&str>) -> Option<Reason> {
    let name = text(&status["name"]);
    let waiting = &status["state"]["waiting"];
    let words = plain(text(&waiting["message"]), WORDS);
    match text(&waiting["reason"]) {
        "ErrImagePull"
        | "ImagePullBackOff"
        | "RegistryUnavailable"
        | "ImageInspectError"
        | "SignatureValidationFailed" => Some(image_pull(status, &words, pulling)),
        "InvalidImageName" => {
            let cause = format!("`{}` is not an image's name", text(&status["image"]));
            Some(Reason::new(Kind::ImagePull, cause, "correct `image` in the values").hopeless_after(5))
        }
        "ErrImageNeverPull" => {
            let cause = format!("the image isn't on the node, and `image.pullPolicy` forbids to pull it: {words}");
            Some(
                Reason::new(Kind::ImagePull, cause, "load the image on the node, or change the policy")
                    .hopeless_after(5),
            )
        }
        "CreateContainerConfigError" => {
            let cause = format!("container `{name}` can't be made: {words}");
            Some(Reason::new(Kind::Configuration, cause, advice::CONFIGURATION).hopeless_after(60))
        }
        "CreateContainerError"
        | "RunContainerError"
        | "StartError"
        | "ContainerCannotRun"
        | "PostStartHookError"
        | "PreCreateHookError"
        | "PreStartHookError" => Some(cannot_start(name, &words)),
        "CrashLoopBackOff" => ended(status).or_else(|| Some(Reason::new(Kind::Crash, words, advice::CRASH))),
        // It just ended, or runs again after it did.
        _ => ended(status),
    }
}

fn image_pull(status: &Value, waiting: &str, pulling: Option<&str>) -> Reason {
    // Older nodes say only that they wait before the next try: the event has the registry's words.
    let bare = waiting.starts_with("Back-off pulling image") && !waiting.contains("ErrImagePull");
    let words = if bare || waiting.is_empty() {
        pulling.map_or_else(|| waiting.to_owned(), |w| plain(w, WORDS))
    } else {
        waiting.to_owned()
    };
    let told = words.rsplit_once("desc = ").map_or(words.as_str(), |(_, told)| told);
    let (advice, seconds) = advice::image(told);
    let cause = format!("the image `{}` can't be pulled: {told}", text(&status["image"]));
    Reason::new(Kind::ImagePull, cause, advice).hopeless_after(seconds)
}

fn cannot_start(name: &str, words: &str) -> Reason {
    // A limit so low that not even what starts the program fits.
    if words.contains("OOM-killed") {
        let cause = format!("container `{name}` needs more memory than its limit to be started at all: {words}");
        return Reason::new(Kind::OutOfMemory, cause, advice::OUT_OF_MEMORY).hopeless_after(30);
    }
    let advice = if is_other_architecture(words) { advice::ARCHITECTURE } else { advice::CANNOT_START };
    Reason::new(Kind::CannotStart, format!("container `{name}` can't be started: {words}"), advice).hopeless_after(30)
}

fn is_other_architecture(words: &str) -> bool {
    words.contains("exec format error")
}

/// That the container ended although it should run, and how.
fn ended(status: &Value) -> Option<Reason> {
    let [now, last] = [&status["state"]["terminated"], &status["lastState"]["terminated"]];
    let end = if now.is_object() { now } else { last };
    let code = end["exitCode"].as_i64()?;
    let reason = text(&end["reason"]);
    // An init container that is done, or one that runs again and is ready.
    if (code == 0 && reason == "Completed" && now.is_object()) || status["ready"] == true {
        return None;
    }
    let name = text(&status["name"]);
    let restarts = count(&status["restartCount"]);
    let words = plain(text(&end["message"]), WORDS);
    if matches!(reason, "StartError" | "ContainerCannotRun") {
        return Some(cannot_start(name, &words));
    }
    let again = match restarts {
        0 => String::new(),
        1 => ", and was started again once".into(),
        more => format!(", and was started again {more} times"),
    };
    let told = if words.is_empty() { String::new() } else { format!(": {words}") };
    let crash = if reason == "OOMKilled" {
        let cause = format!("container `{name}` needs more memory than its limit and was killed{again}{told}");
        Reason::new(Kind::OutOfMemory, cause, advice::OUT_OF_MEMORY)
    } else {
        let how = how(code, end["signal"].as_i64());
        let advice = if is_other_architecture(&words) { advice::ARCHITECTURE } else { advice::CRASH };
        Reason::new(Kind::Crash, format!("container `{name}` ended {how}{again}{told}"), advice)
    };
    // One that runs again may be about to get ready this time.
    let is_down = !status["state"]["running"].is_object();
    Some(if restarts >= RESTARTS && is_down { crash.hopeless_after(0) } else { crash.hopeless_after(90) })
}

/// How a process ended: by a signal, which a container's exit code tells as 128 and more, or by itself.
fn how(code: i64, signal: Option<i64>) -> String {
    let signal =
        signal.filter(|&signal| signal > 0).or(if (129..=192).contains(&code) { Some(code - 128) } else { None });
    let name = match signal {
        None => return format!("with exit code {code}"),
        Some(4) => "SIGILL: an instruction that the node's processor doesn't have",
        Some(6) => "SIGABRT",
        Some(7) => "SIGBUS",
        Some(9) => "SIGKILL",
        Some(11) => "SIGSEGV",
        Some(15) => "SIGTERM",
        Some(other) => return format!("by signal {other}"),
    };
    format!("by {name}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exit_codes_above_128_are_signals() {
        assert_eq!(how(1, None), "with exit code 1");
        assert_eq!(how(137, None), "by SIGKILL");
        assert_eq!(how(0, Some(11)), "by SIGSEGV");
        assert_eq!(how(255, None), "with exit code 255");
        assert_eq!(how(-1, None), "with exit code -1");
        assert_eq!(how(i64::MIN, Some(i64::MIN)), format!("with exit code {}", i64::MIN));
        assert_eq!(how(128 + 30, None), "by signal 30");
    }
}
