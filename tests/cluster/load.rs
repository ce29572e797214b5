//! Constant load on a service, and what became of each request.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use crate::cluster::Cluster;

/// Half of them keep their connections, the other half make a new one for each request.
const CLIENTS: usize = 4;
/// Between two requests of a client: the load is constant, and leaves the machine to the cluster.
const PAUSE: Duration = Duration::from_millis(10);

/// What became of the requests.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    pub(crate) answered: usize,
    /// When and why the others were not.
    pub(crate) failed: Vec<(Instant, String)>,
}

/// Posts `body` to `url`, an address that nodes reach, until `work` is done.
pub(crate) fn during<T>(cluster: &Cluster, url: &str, body: &str, work: impl FnOnce() -> T) -> (Tally, T) {
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let load = scope.spawn(|| cluster.on_node(|| all_clients(url, body, &stop)));
        // A test that fails ends its clients too.
        let ended = std::panic::catch_unwind(std::panic::AssertUnwindSafe(work));
        stop.store(true, Ordering::Relaxed);
        let tally = load.join().unwrap();
        (tally, ended.unwrap_or_else(|panic| std::panic::resume_unwind(panic)))
    })
}

fn all_clients(url: &str, body: &str, stop: &AtomicBool) -> Tally {
    std::thread::scope(|scope| {
        let clients: Vec<_> =
            (0..CLIENTS).map(|id| scope.spawn(move || client(url, body, id % 2 == 0, stop))).collect();
        clients.into_iter().map(|client| client.join().unwrap()).fold(Tally::default(), |mut sum, one| {
            sum.answered += one.answered;
            sum.failed.extend(one.failed);
            sum
        })
    })
}

fn client(url: &str, body: &str, keeps: bool, stop: &AtomicBool) -> Tally {
    let connections = if keeps { 1 } else { 0 };
    let config = ureq::Agent::config_builder().timeout_global(Some(Duration::from_secs(10)));
    let config = config.max_idle_connections(connections).max_idle_connections_per_host(connections);
    let agent = config.build().new_agent();
    let mut tally = Tally::default();
    while !stop.load(Ordering::Relaxed) {
        let begin = Instant::now();
        let answer = agent.post(url).content_type("application/json").send(body);
        match answer.and_then(|mut answer| answer.body_mut().read_to_string()) {
            Ok(_) => tally.answered += 1,
            Err(error) => tally.failed.push((begin, error.to_string())),
        }
        std::thread::sleep(PAUSE);
    }
    tally
}
