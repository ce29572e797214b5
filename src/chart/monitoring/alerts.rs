//! The alerts. What each means and what to do about it stands in `docs/how-to/alerts.md`, a section for each.

use nimify_runtime::metrics::table::{
    GPU_MEMORY_TOTAL_BYTES, GPU_MEMORY_USED_BYTES, NIM_MODEL_LOADING_TIME_SECONDS, NIM_REQUEST_COUNT_TOTAL,
    NIMIFY_CONNECTIONS_REFUSED_TOTAL, NIMIFY_PANICS_TOTAL, NIMIFY_READY, NIMIFY_SPANS_DROPPED_TOTAL,
    NIMIFY_TLS_RELOADS_TOTAL, NUM_REQUESTS_WAITING, NV_INFERENCE_REQUEST_FAILURE, NV_INFERENCE_REQUEST_SUCCESS,
    PROCESS_MAX_FDS, PROCESS_OPEN_FDS, PROCESS_RESIDENT_MEMORY_BYTES, PROCESS_START_TIME_SECONDS,
};
use serde_json::{Value, json};

use super::SCOPE;
use super::query::{Query, inference, share};
use super::recording::{self, ERRORS_BY_TRACK, RELEASE};

const MINUTES: Query<'static> = Query { scope: SCOPE, window: "5m" };
const HOUR: Query<'static> = Query { scope: SCOPE, window: "1h" };

/// One alert, of one rule or of several that differ in how soon they notice.
pub(super) struct Alert {
    /// Its name, and that of its section in the documentation.
    pub(super) name: &'static str,
    /// What has happened, in a line.
    summary: &'static str,
    /// The figures to it; `{window}` stands for the long window of a burn, since a rule's own labels aren't told there.
    description: &'static str,
    /// What it goes by.
    condition: Condition,
}

enum Condition {
    /// One query that gives something for so long.
    One { severity: &'static str, hold: &'static str, query: fn() -> String },
    /// A share of bad requests that uses up what an objective leaves, in a long window and still in a short one.
    Burn { recorded: fn(&str) -> String, objective: &'static str },
}

use Condition::{Burn, One};

/// How many times as fast as the objective allows in a month: severity, factor, windows, and how long it holds.
const BURNS: [(&str, &str, &str, &str, &str); 4] = [
    ("critical", "14.4", "1h", "5m", "2m"),
    ("critical", "6", "6h", "30m", "15m"),
    ("warning", "3", "1d", "2h", "1h"),
    ("warning", "1", "3d", "6h", "3h"),
];

impl Alert {
    /// Its rules, as Prometheus takes them.
    pub(super) fn rules(&self) -> Vec<Value> {
        match &self.condition {
            One { severity, hold, query } => {
                vec![self.rule(&query(), hold, self.description, json!({ "severity": severity }))]
            }
            Burn { recorded, objective } => BURNS
                .iter()
                .map(|(severity, factor, long, short, hold)| {
                    let burns =
                        |window| format!("{} > {factor} * (1 - {objective})", MINUTES.named(&recorded(window), &[]));
                    let labels = json!({ "severity": severity, "long_window": long, "short_window": short });
                    let description = self.description.replace("{window}", long);
                    self.rule(&format!("{} and {}", burns(long), burns(short)), hold, &description, labels)
                })
                .collect(),
        }
    }

    fn rule(&self, query: &str, hold: &str, description: &str, labels: Value) -> Value {
        json!({
            "alert": self.name,
            "expr": query,
            "for": hold,
            "labels": labels,
            "annotations": { "summary": self.summary, "description": description },
        })
    }
}

/// Every alert: first those for the users' sake, then those that say why.
pub(super) const ALERTS: &[Alert] = &[
    Alert {
        name: "NimifyErrorBudgetBurn",
        summary: "{{ $labels.job }} fails too many requests",
        description: "{{ $value | humanizePercentage }} of the requests of the last {window} failed; the objective is %availability% that don't.",
        condition: Burn { recorded: recording::errors, objective: "%availability%" },
    },
    Alert {
        name: "NimifyLatencyBudgetBurn",
        summary: "{{ $labels.job }} answers too slowly",
        description: "{{ $value | humanizePercentage }} of the answers of the last {window} took more than %threshold%; the objective is %objective% that don't.",
        condition: Burn { recorded: recording::slow, objective: "%objective%" },
    },
    Alert {
        name: "NimifyDown",
        summary: "No pod of {{ $labels.job }} can be scraped",
        description: "Prometheus has reached no pod for five minutes.",
        condition: One {
            severity: "critical",
            hold: "5m",
            query: || {
                let up = MINUTES.named("up", &[]);
                format!("sum by ({RELEASE}) ({up}) == 0 or absent({up})")
            },
        },
    },
    Alert {
        name: "NimifyPodUnreachable",
        summary: "{{ $labels.instance }} of {{ $labels.job }} can't be scraped",
        description: "Prometheus has not reached it for ten minutes.",
        condition: One { severity: "warning", hold: "10m", query: || format!("{} == 0", MINUTES.named("up", &[])) },
    },
    Alert {
        name: "NimifyNotReady",
        summary: "{{ $labels.instance }} of {{ $labels.job }} takes no requests",
        description: "It has not been ready for %starting%, which is longer than the start may take.",
        condition: One {
            severity: "warning",
            hold: "%starting%",
            query: || format!("{} == 0", MINUTES.of(&NIMIFY_READY, "", &[])),
        },
    },
    Alert {
        name: "NimifyRestarts",
        summary: "{{ $labels.instance }} of {{ $labels.job }} starts again and again",
        description: "It has started {{ $value }} times more in the last hour.",
        condition: One {
            severity: "warning",
            hold: "0s",
            query: || format!("{} > 2", HOUR.over("changes", &PROCESS_START_TIME_SECONDS, "", &[])),
        },
    },
    Alert {
        name: "NimifySlowStart",
        summary: "{{ $labels.instance }} of {{ $labels.job }} nearly used up its time to start",
        description: "Loading took {{ $value | humanizeDuration }} of the %budget% seconds that the start-up probe allows.",
        condition: One {
            severity: "warning",
            hold: "0s",
            query: || format!("{} > 0.8 * %budget%", MINUTES.of(&NIM_MODEL_LOADING_TIME_SECONDS, "", &[])),
        },
    },
    Alert {
        name: "NimifyRequestsRefused",
        summary: "{{ $labels.job }} has no room for requests",
        description: "{{ $value | humanizePercentage }} of the requests were answered 429 in the last five minutes.",
        condition: One { severity: "warning", hold: "5m", query: || format!("{} > 0.01", answered("429")) },
    },
    Alert {
        name: "NimifyQueueLong",
        summary: "Requests wait for the model in {{ $labels.instance }} of {{ $labels.job }}",
        description: "{{ $value | humanize }} requests waited on average in the last five minutes; there is room for %queue%.",
        condition: One {
            severity: "warning",
            hold: "5m",
            query: || format!("{} > 0.5 * %queue%", MINUTES.over("avg_over_time", &NUM_REQUESTS_WAITING, "", &[])),
        },
    },
    Alert {
        name: "NimifyDeadlinesPassed",
        summary: "{{ $labels.job }} doesn't answer in time",
        description: "{{ $value | humanizePercentage }} of the requests were answered 504 in the last five minutes.",
        condition: One { severity: "warning", hold: "5m", query: || format!("{} > 0.01", answered("504")) },
    },
    Alert {
        name: "NimifyModelFails",
        summary: "The model of {{ $labels.job }} fails on what it is given",
        description: "{{ $value | humanizePercentage }} of the requests of the last five minutes failed in the model.",
        condition: One {
            severity: "warning",
            hold: "10m",
            query: || {
                let sum = |metric, matchers: &[&str]| MINUTES.sum(RELEASE, metric, "", matchers);
                let answered = sum(&NV_INFERENCE_REQUEST_SUCCESS, &[]);
                let failed = sum(&NV_INFERENCE_REQUEST_FAILURE, &["reason=\"BACKEND\""]);
                format!("{failed} / ({answered} + {failed}) > 0.01")
            },
        },
    },
    Alert {
        name: "NimifyPanics",
        summary: "{{ $labels.job }} has a fault",
        description: "{{ $value | humanize }} requests of the last hour ended in a fault of the service and were answered 500.",
        condition: One { severity: "warning", hold: "0s", query: || grown(HOUR, &NIMIFY_PANICS_TOTAL, &[]) },
    },
    Alert {
        name: "NimifyCanaryWorse",
        summary: "The canary of {{ $labels.job }} fails more than what it is to replace",
        description: "{{ $value | humanizePercentage }} of its requests of the last five minutes failed.",
        condition: One {
            severity: "warning",
            hold: "5m",
            query: || {
                let of = |track: &str| MINUTES.named(ERRORS_BY_TRACK, &[&format!("track=\"{track}\"")]);
                format!("{} > on ({RELEASE}) 2 * {} + 0.01", of("canary"), of("stable"))
            },
        },
    },
    Alert {
        name: "NimifyMemoryNearLimit",
        summary: "{{ $labels.instance }} of {{ $labels.job }} is short of memory",
        description: "It holds {{ $value | humanizePercentage }} of what its container may have.",
        condition: One {
            severity: "warning",
            hold: "15m",
            query: || format!("{} / %memory% > 0.9", MINUTES.of(&PROCESS_RESIDENT_MEMORY_BYTES, "", &[])),
        },
    },
    Alert {
        name: "NimifyGpuMemoryNearFull",
        summary: "GPU {{ $labels.gpu }} of {{ $labels.instance }} is nearly full",
        description: "{{ $value | humanizePercentage }} of its memory is taken.",
        condition: One {
            severity: "warning",
            hold: "15m",
            query: || {
                let of = |metric| MINUTES.of(metric, "", &[]);
                format!("{} / {} > 0.95", of(&GPU_MEMORY_USED_BYTES), of(&GPU_MEMORY_TOTAL_BYTES))
            },
        },
    },
    Alert {
        name: "NimifyFilesNearLimit",
        summary: "{{ $labels.instance }} of {{ $labels.job }} is short of file descriptors",
        description: "{{ $value | humanizePercentage }} of them are open: connections, above all.",
        condition: One {
            severity: "warning",
            hold: "15m",
            query: || {
                let of = |metric| MINUTES.of(metric, "", &[]);
                format!("{} / {} > 0.9", of(&PROCESS_OPEN_FDS), of(&PROCESS_MAX_FDS))
            },
        },
    },
    Alert {
        name: "NimifyConnectionsRefused",
        summary: "{{ $labels.job }} has too many connections",
        description: "{{ $value | humanize }} connections were told to come again in the last five minutes.",
        condition: One {
            severity: "warning",
            hold: "5m",
            query: || grown(MINUTES, &NIMIFY_CONNECTIONS_REFUSED_TOTAL, &[]),
        },
    },
    Alert {
        name: "NimifyCertificateRefused",
        summary: "{{ $labels.job }} can't use its new certificate",
        description: "The old one stays, until it runs out.",
        condition: One {
            severity: "warning",
            hold: "0s",
            query: || grown(HOUR, &NIMIFY_TLS_RELOADS_TOTAL, &["result=\"refused\""]),
        },
    },
    Alert {
        name: "NimifySpansDropped",
        summary: "Traces of {{ $labels.job }} get lost",
        description: "{{ $value | humanize }} spans of the last hour didn't reach the collector.",
        condition: One { severity: "info", hold: "15m", query: || grown(HOUR, &NIMIFY_SPANS_DROPPED_TOTAL, &[]) },
    },
];

/// Share of the requests that were answered with a status.
fn answered(status: &str) -> String {
    let requests = |matchers: &[&str]| MINUTES.sum(RELEASE, &NIM_REQUEST_COUNT_TOTAL, "", matchers);
    share(&requests(&[&inference(), &format!("status=\"{status}\"")]), &requests(&[&inference()]))
}

/// By how much a counter of the release has grown, if it has.
fn grown(query: Query<'_>, counter: &nimify_runtime::metrics::Metric, matchers: &[&str]) -> String {
    format!("sum by ({RELEASE}) ({}) > 0", query.over("increase", counter, "", matchers))
}
