//! The command line, from clap's own tree.

use clap::{Arg, Command};
use nimify_runtime::environment::VARIABLES;

use super::{code, table};

/// A section a command: what it does, how it is called, its arguments and flags.
pub(super) fn commands() -> String {
    let mut root = nimify::cli::command();
    root.build();
    let mut text = String::new();
    for command in root.get_subcommands().filter(|command| shown(command)) {
        section(&mut text, command, 2);
    }
    text
}

fn shown(command: &Command) -> bool {
    !command.is_hide_set() && command.get_name() != "help"
}

fn section(text: &mut String, command: &Command, level: usize) {
    let title = command.get_bin_name().unwrap_or(command.get_name());
    let usage = command.clone().render_usage().to_string();
    let about = command.get_about().map(ToString::to_string).unwrap_or_default();
    *text += &format!("\n{} `{title}`\n\n{about}.\n\n", "#".repeat(level));
    *text += &format!("    {}\n", usage.trim_start_matches("Usage: ").trim());
    let arguments: Vec<&Arg> = command.get_arguments().filter(|arg| !standard(arg)).collect();
    if !arguments.is_empty() {
        *text += "\n";
        *text += &table(&["argument", "what it says", "default"], arguments.into_iter().map(row));
    }
    for inner in command.get_subcommands().filter(|command| shown(command)) {
        section(text, inner, level + 1);
    }
}

/// The two that every command has.
fn standard(arg: &Arg) -> bool {
    matches!(arg.get_id().as_str(), "help" | "version")
}

fn row(arg: &Arg) -> Vec<String> {
    let value = arg.get_value_names().and_then(|names| names.first()).map(ToString::to_string).unwrap_or_default();
    let takes = arg.get_action().takes_values();
    let name = match (arg.get_long(), arg.get_short()) {
        (None, _) => value.clone(),
        (Some(long), short) => {
            let short = short.map(|short| format!("-{short}, ")).unwrap_or_default();
            if takes { format!("{short}--{long} {value}") } else { format!("{short}--{long}") }
        }
    };
    let help = arg.get_help().map(ToString::to_string).unwrap_or_default();
    let (help, default) = match help.split_once(" [default: ") {
        Some((help, default)) => (help.to_string(), default.trim_end_matches(']').to_string()),
        None => (help, given_default(arg, takes)),
    };
    let choices: Vec<String> = if takes {
        let possible = arg.get_possible_values();
        let one = |choice: &clap::builder::PossibleValue| match choice.get_help() {
            Some(help) => format!("`{}` ({})", choice.get_name(), first_lower(&help.to_string())),
            None => code(choice.get_name()),
        };
        possible.iter().map(one).collect()
    } else {
        Vec::new()
    };
    let help = match (help.is_empty(), choices.is_empty()) {
        (_, true) => help,
        (true, false) => choices.join(", "),
        (false, false) => format!("{help}: {}", choices.join(", ")),
    };
    vec![code(&name), help, default]
}

fn given_default(arg: &Arg, takes: bool) -> String {
    let values: Vec<String> = arg.get_default_values().iter().map(|value| code(&value.to_string_lossy())).collect();
    if takes { values.join(", ") } else { String::new() }
}

/// The first letter in lower case, unless the word is an abbreviation or a name in code.
fn first_lower(text: &str) -> String {
    let mut letters = text.chars();
    let first = letters.next().map(|first| first.to_lowercase().to_string()).unwrap_or_default();
    first + letters.as_str()
}

/// What the command line itself reads from the environment. That each name is used is checked below.
const READ: [(&str, &str); 26] = [
    ("NIMIFY_CACHE", "the folder that is kept between runs"),
    ("XDG_CACHE_HOME", "without `NIMIFY_CACHE`: `nimify` in it is that folder; else `~/.cache/nimify`"),
    ("NIMIFY_ONNXRUNTIME", "ONNX Runtime's library, instead of the pinned one from a Python package or pip"),
    ("NIMIFY_KEY_PASSWORD", "the password of private keys, old and new; `COSIGN_PASSWORD` is taken where it isn't set"),
    ("XDG_CONFIG_HOME", "`nimify/keys` in it is the key store; else `~/.config`"),
    ("DOCKER_HOST", "the engine of `nimify load`, as `unix://…` or `tcp://…`"),
    ("CONTAINER_HOST", "the same in Podman's words; `DOCKER_HOST` beats it"),
    ("DOCKER_AUTH_CONFIG", "credentials for registries: the text of a `config.json`"),
    ("DOCKER_CONFIG", "the folder of Docker's `config.json`, instead of `~/.docker`"),
    ("REGISTRY_AUTH_FILE", "a file of credentials as Podman writes it"),
    ("NIMIFY_TOKEN_", "with a host after it, `.` written `_` and `-` written `__`: the token for that host's models"),
    ("NETRC", "a file of logins for web hosts, instead of `~/.netrc`"),
    ("HF_ENDPOINT", "where the model hub is, instead of where it usually is"),
    ("HF_TOKEN", "the token that the model hub is shown"),
    ("HF_TOKEN_PATH", "the file with that token, instead of `token` in `HF_HOME`"),
    ("HF_HOME", "the folder of the hub's own tools, instead of `~/.cache/huggingface`"),
    ("HF_HUB_CACHE", "their cache, instead of `hub` in `HF_HOME`"),
    ("HF_HUB_OFFLINE", "`1`: the model hub isn't asked"),
    ("SSL_CERT_FILE", "the authorities that registries' certificates are held against, instead of the machine's"),
    ("HTTPS_PROXY", "the proxy on the way to registries; `NO_PROXY` names hosts that need none"),
    ("NIMIFY_HELM", "the helm that deploys; else `helm` in `PATH`"),
    ("KUBECONFIG", "files that say which clusters there are; else `~/.kube/config`"),
    ("XDG_RUNTIME_DIR", "where the socket of a rootless Docker or Podman is looked for"),
    ("SOURCE_DATE_EPOCH", "the time that is written into the image, seconds since 1970; else a fixed one"),
    ("CARGO_HOME", "where cargo keeps what it has fetched"),
    ("NIMIFY_SIGNING_KEY", "no name of its own: a good one for `--key env://NIMIFY_SIGNING_KEY`"),
];

pub(super) fn variables() -> String {
    table(&["variable", "what it sets"], READ.iter().map(|(name, what)| vec![code(name), what.to_string()]))
}

#[test]
fn the_variables_of_the_page_are_those_that_the_sources_read() {
    let mut sources = String::new();
    for entry in walkdir::WalkDir::new("src").into_iter().flatten() {
        if entry.path().extension().is_some_and(|extension| extension == "rs") {
            sources += &std::fs::read_to_string(entry.path()).unwrap();
        }
    }
    for (name, _) in READ.iter().filter(|(name, _)| *name != "NIMIFY_SIGNING_KEY") {
        assert!(sources.contains(&format!("\"{name}\"")), "nothing reads {name}");
    }
    let known = |name: &str| READ.iter().any(|row| row.0 == name) || VARIABLES.iter().any(|row| row.name == name);
    let ours = |word: &&str| word.starts_with("NIMIFY_") && !word.contains("_TEST_") && !word.contains("_GOLDEN");
    for name in sources.split('"').filter(ours) {
        assert!(known(name), "the page lacks {name}");
    }
}
