//! A lock against two deploys at once: a Lease in the namespace with its holder's name.
//!
//! It lasts for half a minute and is renewed by a thread while it is held; a holder that dies is thus forgotten by itself.
//! Times are the API server's, since the clocks of two holders may differ. Given back, the Lease is deleted: nothing is
//! left in the namespace.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, RecvTimeoutError, Sender};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

use http::Method;
use jiff::Timestamp;
use serde_json::{Value, json};

use super::objects::{plain, text};
use super::request::{Ask, segment};
use super::{Cluster, Error};

/// How long a Lease lasts after it was renewed.
const LASTS: Duration = Duration::from_secs(30);
/// How often it is renewed.
const RENEWED: Duration = Duration::from_secs(8);
/// How long one request may take while it is held: the user may have asked to stop, and waits.
const BRIEF: Duration = Duration::from_secs(2);

/// Who holds a Lease.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Holder {
    /// The holder's name for itself.
    pub name: String,
    /// Since when, RFC 3339; empty where the Lease doesn't say.
    pub since: String,
    /// After how many seconds it is free, unless the holder renews it.
    pub expires_in: u64,
}

/// Who holds this Lease at this moment; `None` where nobody does, or not any more.
fn holder(lease: &Value, now: Timestamp) -> Option<Holder> {
    let spec = &lease["spec"];
    let name = plain(text(&spec["holderIdentity"]), 200);
    let renewed: Timestamp = text(&spec["renewTime"]).parse().ok()?;
    let lasts = i64::try_from(spec["leaseDurationSeconds"].as_u64()?).ok()?.min(24 * 60 * 60);
    let left = renewed.as_second().saturating_add(lasts).saturating_sub(now.as_second());
    // One that was renewed far in the future is nonsense, and must not lock the namespace for ever.
    if name.is_empty() || left <= 0 || left > 2 * lasts {
        return None;
    }
    Some(Holder { name, since: plain(text(&spec["acquireTime"]), 40), expires_in: left.unsigned_abs() })
}

/// The Lease as it is written.
fn lease(name: &str, holder: &str, taken: Timestamp, renewed: Timestamp) -> Value {
    let moment = |time: Timestamp| time.strftime("%Y-%m-%dT%H:%M:%S%.6fZ").to_string();
    json!({
        "apiVersion": "coordination.k8s.io/v1",
        "kind": "Lease",
        "metadata": { "name": name, "labels": { "app.kubernetes.io/managed-by": "nimify" } },
        "spec": {
            "holderIdentity": holder,
            "leaseDurationSeconds": LASTS.as_secs(),
            "acquireTime": moment(taken),
            "renewTime": moment(renewed),
        },
    })
}

/// What is kept of a Lease that is held.
#[derive(Debug, Clone)]
struct Held {
    name: String,
    holder: String,
    taken: Timestamp,
    uid: String,
    version: String,
}

/// A lock that is held until this is dropped.
#[derive(Debug)]
pub struct Lock {
    cluster: Cluster,
    held: Arc<Mutex<Held>>,
    lost: Arc<AtomicBool>,
    stop: Option<Sender<()>>,
    renewing: Option<JoinHandle<()>>,
}

impl Cluster {
    /// Takes the lock of a release; [`Error::Locked`] says who else holds it.
    ///
    /// `holder`: a name by which another person knows who it is, such as `ada@laptop, process 4711`.
    pub fn lock(&self, release: &str, holder: &str) -> Result<Lock, Error> {
        let held = self.take(&format!("nimify-{release}"), holder)?;
        let (held, lost) = (Arc::new(Mutex::new(held)), Arc::new(AtomicBool::new(false)));
        let (stop, stopped) = mpsc::channel();
        let (cluster, shared, flag) = (self.clone(), held.clone(), lost.clone());
        let renewing = std::thread::spawn(move || {
            while let Err(RecvTimeoutError::Timeout) = stopped.recv_timeout(RENEWED) {
                let current = shared.lock().unwrap_or_else(|broken| broken.into_inner()).clone();
                match cluster.renew(&current) {
                    Ok(version) => {
                        shared.lock().unwrap_or_else(|broken| broken.into_inner()).version = version;
                    }
                    // Somebody else wrote it, or deleted it.
                    Err(Error::Locked { .. }) => {
                        flag.store(true, Ordering::SeqCst);
                        return;
                    }
                    // A cluster that can't be reached for a moment: the next time is before the Lease is over.
                    Err(_) => {}
                }
            }
        });
        Ok(Lock { cluster: self.clone(), held, lost, stop: Some(stop), renewing: Some(renewing) })
    }

    fn leases(&self) -> String {
        format!("/apis/coordination.k8s.io/v1/namespaces/{}/leases", segment(&self.namespace))
    }

    fn take(&self, name: &str, holder_name: &str) -> Result<Held, Error> {
        let path = format!("{}/{}", self.leases(), segment(name));
        let in_namespace = format!("leases.coordination.k8s.io in namespace {}", self.namespace);
        let ask = Ask::get(&path, format!("get {in_namespace}"));
        let (found, now) = self.object_and_time(&ask)?;
        let now = now.unwrap_or_else(Timestamp::now);
        let mut wanted = lease(name, holder_name, now, now);
        let ask = match &found {
            None => Ask::with(Method::POST, self.leases(), &wanted, format!("create {in_namespace}")),
            Some(found) => {
                if let Some(holder) = holder(found, now) {
                    return Err(self.locked(name, Some(holder)));
                }
                // Of two that find the same expired Lease, the second is refused.
                wanted["metadata"]["resourceVersion"] = found["metadata"]["resourceVersion"].clone();
                Ask::with(Method::PUT, &path, &wanted, format!("update {in_namespace}"))
            }
        };
        let written = match self.object(&ask) {
            Err(Error::Refused { status: 409, .. }) => {
                let (other, _) = self.object_and_time(&Ask::get(&path, &ask.action))?;
                return Err(self.locked(name, other.and_then(|other| holder(&other, now))));
            }
            other => other?.unwrap_or_default(),
        };
        let [uid, version] = ["uid", "resourceVersion"].map(|field| text(&written["metadata"][field]).to_owned());
        Ok(Held { name: name.into(), holder: holder_name.into(), taken: now, uid, version })
    }

    fn renew(&self, held: &Held) -> Result<String, Error> {
        let path = format!("{}/{}", self.leases(), segment(&held.name));
        let brief = |ask: Ask| Ask { timeout: BRIEF, ..ask.heedless() };
        let (found, now) = self.object_and_time(&brief(Ask::get(&path, "get leases.coordination.k8s.io")))?;
        let now = now.unwrap_or_else(Timestamp::now);
        let ours = found.filter(|found| found["metadata"]["uid"] == held.uid.as_str());
        let Some(found) = ours.filter(|found| found["spec"]["holderIdentity"] == held.holder.as_str()) else {
            return Err(self.locked(&held.name, None));
        };
        let mut wanted = lease(&held.name, &held.holder, held.taken, now);
        wanted["metadata"]["resourceVersion"] = found["metadata"]["resourceVersion"].clone();
        let ask = Ask::with(Method::PUT, &path, &wanted, "update leases.coordination.k8s.io");
        let written = self.object(&brief(ask))?.unwrap_or_default();
        Ok(text(&written["metadata"]["resourceVersion"]).to_owned())
    }

    /// Deletes the Lease, if it is still the one that was taken.
    fn give_back(&self, held: &Held) -> Result<(), Error> {
        let path = format!("{}/{}", self.leases(), segment(&held.name));
        let options = json!({
            "apiVersion": "v1", "kind": "DeleteOptions",
            "preconditions": { "uid": held.uid, "resourceVersion": held.version },
        });
        let mut ask = Ask::with(Method::DELETE, path, &options, "delete leases.coordination.k8s.io").heedless();
        ask.timeout = BRIEF;
        self.object(&ask).map(drop)
    }

    fn locked(&self, name: &str, holder: Option<Holder>) -> Error {
        Error::Locked { lease: name.into(), namespace: self.namespace.clone(), holder }
    }
}

impl Lock {
    /// Whether it is still held; not, when somebody deleted or took the Lease.
    pub fn check(&self) -> Result<(), Error> {
        if !self.lost.load(Ordering::SeqCst) {
            return Ok(());
        }
        let held = self.held.lock().unwrap_or_else(|broken| broken.into_inner());
        Err(self.cluster.locked(&held.name, None))
    }
}

impl Drop for Lock {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(renewing) = self.renewing.take() {
            drop(renewing.join());
        }
        let held = self.held.lock().unwrap_or_else(|broken| broken.into_inner());
        if !self.lost.load(Ordering::SeqCst) {
            // If it can't be reached, the Lease is over by itself soon.
            drop(self.cluster.give_back(&held));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn at(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    #[test]
    fn a_lease_is_held_until_it_is_over() {
        let taken = at("2026-11-21T10:00:00Z");
        let lease = lease("nimify-digits", "ada@laptop", taken, at("2026-11-21T10:01:00Z"));
        assert_eq!(lease["spec"]["acquireTime"], "2026-11-21T10:00:00.000000Z");
        let held = holder(&lease, at("2026-11-21T10:01:10Z")).unwrap();
        assert_eq!((held.name.as_str(), held.expires_in), ("ada@laptop", 20));
        assert_eq!(held.since, "2026-11-21T10:00:00.000000Z");
        assert_eq!(holder(&lease, at("2026-11-21T10:01:30Z")), None);
        // Renewed an hour from now, says a clock that is wrong.
        assert_eq!(holder(&lease, at("2026-11-21T09:00:00Z")), None);
    }

    #[test]
    fn a_lease_without_a_holder_is_free() {
        let now = at("2026-11-21T10:00:00Z");
        let mut given_back = lease("x", "", now, now);
        assert_eq!(holder(&given_back, now), None);
        given_back["spec"] = json!({ "holderIdentity": "ada", "leaseDurationSeconds": u64::MAX, "renewTime": "soon" });
        assert_eq!(holder(&given_back, now), None);
    }

    proptest! {
        #[test]
        fn no_lease_makes_it_panic(name in ".*", duration in any::<u64>(), seconds in any::<i32>(), time in ".*") {
            let renewed = Timestamp::from_second(seconds.into()).unwrap();
            let spec = json!({ "holderIdentity": name, "leaseDurationSeconds": duration, "renewTime": renewed.to_string() });
            holder(&json!({ "spec": spec }), Timestamp::MAX);
            holder(&json!({ "spec": { "renewTime": time } }), Timestamp::MIN);
        }
    }
}
