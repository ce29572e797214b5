//! Execution providers: which ones there are, which of them a session is tried with, and what came of it.
//!
//! Nothing is taken on trust. A provider counts as taken when the library has it, when it registered, when the session
//! opened with it, and when ONNX Runtime assigned operators of the model to it.

use std::fmt;
use std::str::FromStr;

use ort::ep::{CUDA, ExecutionProviderDispatch, MIGraphX, OpenVINO, ROCm, TensorRT};
use serde::{Deserialize, Serialize};

/// An execution provider of ONNX Runtime.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Provider {
    /// NVIDIA's TensorRT; what it can't run goes to CUDA.
    TensorRt,
    /// NVIDIA's CUDA.
    Cuda,
    /// AMD's MIGraphX.
    MiGraphX,
    /// AMD's ROCm.
    Rocm,
    /// Intel's OpenVINO.
    OpenVino,
    /// The CPU, which every library has.
    Cpu,
}

impl Provider {
    /// All of them, the best first.
    pub const ALL: [Provider; 6] =
        [Provider::TensorRt, Provider::Cuda, Provider::MiGraphX, Provider::Rocm, Provider::OpenVino, Provider::Cpu];

    /// The word for it in settings, logs and metrics.
    pub fn word(self) -> &'static str {
        match self {
            Provider::TensorRt => "tensorrt",
            Provider::Cuda => "cuda",
            Provider::MiGraphX => "migraphx",
            Provider::Rocm => "rocm",
            Provider::OpenVino => "openvino",
            Provider::Cpu => "cpu",
        }
    }

    /// ONNX Runtime's name for it.
    pub fn onnxruntime_name(self) -> &'static str {
        match self {
            Provider::TensorRt => "TensorrtExecutionProvider",
            Provider::Cuda => "CUDAExecutionProvider",
            Provider::MiGraphX => "MIGraphXExecutionProvider",
            Provider::Rocm => "ROCMExecutionProvider",
            Provider::OpenVino => "OpenVINOExecutionProvider",
            Provider::Cpu => "CPUExecutionProvider",
        }
    }

    /// What a session registers for it, each of which has to succeed; nothing for the CPU, which is always there.
    pub(super) fn registrations(self) -> Vec<ExecutionProviderDispatch> {
        let all = match self {
            // What TensorRT can't run would go to the CPU and back otherwise.
            Provider::TensorRt => vec![TensorRT::default().build(), CUDA::default().build()],
            Provider::Cuda => vec![CUDA::default().build()],
            Provider::MiGraphX => vec![MIGraphX::default().build()],
            Provider::Rocm => vec![ROCm::default().build()],
            Provider::OpenVino => vec![OpenVINO::default().build()],
            Provider::Cpu => Vec::new(),
        };
        // Else ONNX Runtime's refusal is a line in a log, and the session runs on the CPU.
        all.into_iter().map(ExecutionProviderDispatch::error_on_failure).collect()
    }

    /// Whether `auto` tries it. Not TensorRT: it builds an engine for each shape, which can take minutes of a start.
    fn is_tried_unasked(self) -> bool {
        self != Provider::TensorRt
    }
}

impl fmt::Display for Provider {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.word())
    }
}

impl FromStr for Provider {
    type Err = String;

    fn from_str(word: &str) -> Result<Self, String> {
        Provider::ALL.into_iter().find(|provider| provider.word() == word).ok_or_else(|| {
            let words = Provider::ALL.map(|provider| format!("`{provider}`")).join(", ");
            format!("`{word}` is not an execution provider: write `auto`, or one or several of {words}")
        })
    }
}

/// Which providers may run the model: the best that is there, or these in their order. Written `auto`, `cuda` or
/// `tensorrt,cuda`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum Providers {
    /// The best that the library and the machine have.
    #[default]
    Auto,
    /// The first of these that can be had; never empty.
    Named(Vec<Provider>),
}

impl Providers {
    /// What [`Providers::from_str`] takes, as a regular expression for schemas.
    pub const PATTERN: &str =
        "^(auto|(tensorrt|cuda|migraphx|rocm|openvino|cpu)(,(tensorrt|cuda|migraphx|rocm|openvino|cpu))*)$";

    /// Whether `provider` is one of those that are named.
    pub fn has(&self, provider: Provider) -> bool {
        matches!(self, Providers::Named(named) if named.contains(&provider))
    }

    /// What to try, in its order, with a library that has the providers of these names. The CPU comes last whether it
    /// was asked for or not: whether that is an error is decided by what is taken in the end.
    pub(super) fn to_try(&self, compiled_in: &[String]) -> ToTry {
        let has = |provider: &Provider| {
            *provider == Provider::Cpu || compiled_in.iter().any(|name| name == provider.onnxruntime_name())
        };
        let (mut order, mut missing) = (Vec::new(), Vec::new());
        match self {
            Providers::Auto => order.extend(Provider::ALL.iter().filter(|p| p.is_tried_unasked() && has(p))),
            Providers::Named(named) => {
                order.extend(named.iter().filter(|p| has(p)));
                missing.extend(named.iter().filter(|p| !has(p)));
            }
        }
        if !order.contains(&Provider::Cpu) {
            order.push(Provider::Cpu);
        }
        ToTry { order, missing }
    }

    /// Whether `taken` is what was asked for: one of those named, or, for `auto`, anything but the CPU.
    pub fn is_met_by(&self, taken: Provider) -> bool {
        match self {
            Providers::Auto => taken != Provider::Cpu,
            Providers::Named(named) => named.contains(&taken),
        }
    }
}

impl FromStr for Providers {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text == "auto" {
            return Ok(Providers::Auto);
        }
        let named: Vec<Provider> = text.split(',').map(str::parse).collect::<Result<_, _>>()?;
        match named.iter().enumerate().find(|(k, provider)| named[..*k].contains(provider)) {
            Some((_, twice)) => Err(format!("`{twice}` stands twice in `{text}`")),
            None => Ok(Providers::Named(named)),
        }
    }
}

impl fmt::Display for Providers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Providers::Auto => f.write_str("auto"),
            Providers::Named(named) => f.write_str(&named.iter().map(|p| p.word()).collect::<Vec<_>>().join(",")),
        }
    }
}

impl TryFrom<String> for Providers {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

impl From<Providers> for String {
    fn from(providers: Providers) -> String {
        providers.to_string()
    }
}

/// What is to be tried.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct ToTry {
    /// In this order, the CPU at the end or before.
    pub(super) order: Vec<Provider>,
    /// Asked for, but not in the library.
    pub(super) missing: Vec<Provider>,
}

/// The provider that runs the model, and how that came about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Taken {
    /// The provider.
    pub provider: Provider,
    /// How many of the model's operators it runs; `None` for the CPU, which runs what nobody else does.
    pub operators: Option<Share>,
    /// Those that were tried before, and why not.
    pub refused: Vec<Refusal>,
}

/// A part of the model's operators, as ONNX Runtime counts them after its optimizations.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Share {
    /// Operators of the provider.
    pub taken: usize,
    /// Operators in all.
    pub of: usize,
}

/// A provider that was not to be had.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// The provider.
    pub provider: Provider,
    /// What ONNX Runtime said.
    pub reason: String,
}

/// Refusals as one text: `cuda: …; tensorrt: …`.
pub(super) fn text(refused: &[Refusal]) -> String {
    let one = |refusal: &Refusal| format!("{}: {}", refusal.provider, refusal.reason);
    refused.iter().map(one).collect::<Vec<_>>().join("; ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Providers {
        text.parse().unwrap()
    }

    #[test]
    fn words_come_back_and_nonsense_is_refused() {
        for text in ["auto", "cpu", "cuda", "tensorrt,cuda,cpu", "migraphx", "rocm", "openvino"] {
            assert_eq!(parse(text).to_string(), text);
            assert_eq!(serde_json::to_value(parse(text)).unwrap(), text);
        }
        assert!("gpu".parse::<Providers>().unwrap_err().contains("`migraphx`"));
        assert!("cuda,auto".parse::<Providers>().unwrap_err().contains("`auto` is not"));
        assert!("cuda,cuda".parse::<Providers>().unwrap_err().contains("twice"));
        for text in ["", ",", "cuda,", "CUDA", "cuda, cpu"] {
            assert!(text.parse::<Providers>().is_err(), "{text}");
        }
        for provider in Provider::ALL {
            assert!(Providers::PATTERN.contains(provider.word()));
        }
    }

    #[test]
    fn auto_tries_what_the_library_has_and_named_ones_come_in_their_order() {
        use Provider::{Cpu, Cuda, OpenVino, TensorRt};
        let library = ["OpenVINOExecutionProvider", "TensorrtExecutionProvider", "CUDAExecutionProvider", "X"];
        let library = library.map(String::from);
        let tried = |text: &str, library: &[String]| {
            let ToTry { order, missing } = parse(text).to_try(library);
            (order, missing)
        };
        assert_eq!(tried("auto", &library), (vec![Cuda, OpenVino, Cpu], vec![]));
        assert_eq!(tried("auto", &[]), (vec![Cpu], vec![]));
        assert_eq!(tried("openvino,tensorrt", &library), (vec![OpenVino, TensorRt, Cpu], vec![]));
        assert_eq!(tried("cpu,cuda", &library), (vec![Cpu, Cuda], vec![]));
        assert_eq!(tried("cuda,openvino", &[]), (vec![Cpu], vec![Cuda, OpenVino]));
    }

    #[test]
    fn the_cpu_is_a_fall_back_unless_it_was_asked_for() {
        assert!(parse("cuda,cpu").is_met_by(Provider::Cpu) && parse("cpu").is_met_by(Provider::Cpu));
        assert!(!parse("cuda").is_met_by(Provider::Cpu) && !parse("auto").is_met_by(Provider::Cpu));
        assert!(parse("auto").is_met_by(Provider::OpenVino) && !parse("cuda").is_met_by(Provider::TensorRt));
    }
}
