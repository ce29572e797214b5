//! Registries with habits of their own: what they ask for is done, and where they shouldn't lead is not gone.

use std::fs;
use std::time::{Duration, Instant};

use nimify::digest::Digest;
use nimify::registry::{FetchRequest, Reference, Signing, fetch};
use serde_json::json;

use crate::layout;
use crate::odd::{Asked, Odd, Said};
use crate::{Count, push_to};

const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";

fn plain(status: u16) -> Said {
    (status, Vec::new(), String::new())
}

fn located(status: u16, location: &str) -> Said {
    (status, vec![("Location", location.into())], String::new())
}

/// A registry that has nothing and takes everything.
fn usual(asked: &Asked) -> Said {
    match asked.method.as_str() {
        "POST" => located(202, "/upload/1?state=a%2Bb"),
        "PATCH" => located(202, "/upload/2"),
        "PUT" => plain(201),
        _ => plain(404),
    }
}

fn push(odd: &Odd, size: usize) -> Result<nimify::registry::PushReport, String> {
    let home = tempfile::tempdir().unwrap();
    layout::make(home.path(), &[size]);
    push_to(home.path(), &format!("{}/ml/digits:1", odd.address), Signing::Nobody, &Count::default())
}

#[test]
fn a_location_keeps_its_query_and_one_piece_has_its_length() {
    let odd = Odd::start(|asked, _| usual(asked));
    push(&odd, 3000).unwrap();
    let puts: Vec<Asked> = odd.asked().into_iter().filter(|asked| asked.is("PUT", "/upload/")).collect();
    assert!(puts.iter().all(|put| put.path.starts_with("/upload/1?state=a%2Bb&digest=sha256%3A")), "{puts:?}");
    assert_eq!(puts.iter().map(|put| put.body.len()).max(), Some(3000));
    // The tag comes last.
    assert!(odd.asked().last().unwrap().is("PUT", "/v2/ml/digits/manifests/1"));
}

#[test]
fn a_busy_registry_is_given_the_time_that_it_asks_for() {
    let odd = Odd::start(|asked, before| match before {
        0 if asked.method == "POST" => (429, vec![("Retry-After", "2".into())], String::new()),
        1 if asked.method == "HEAD" => plain(503),
        _ => usual(asked),
    });
    let begin = Instant::now();
    push(&odd, 100).unwrap();
    assert!(begin.elapsed() >= Duration::from_secs(2), "{:?}", begin.elapsed());
}

#[test]
fn a_registry_without_chunks_gets_one_piece() {
    let odd = Odd::start(|asked, _| if asked.method == "PATCH" { plain(405) } else { usual(asked) });
    let report = push(&odd, 9 << 20).unwrap();
    assert_eq!(odd.asked().iter().filter(|asked| asked.method == "PATCH").count(), 1);
    assert!(odd.asked().iter().any(|asked| asked.method == "PUT" && asked.body.len() == 9 << 20));
    assert!(report.bytes_sent >= 9 << 20);
}

#[test]
fn chunks_are_as_small_as_a_proxy_wants_and_as_large_as_the_registry_wants() {
    let odd = Odd::start(|asked, _| if asked.body.len() > 3 << 20 { plain(413) } else { usual(asked) });
    push(&odd, 9 << 20).unwrap();
    let sizes: Vec<usize> =
        odd.asked().iter().filter(|asked| asked.method == "PATCH").map(|asked| asked.body.len()).collect();
    assert_eq!(sizes[1..], [2 << 20, 2 << 20, 2 << 20, 2 << 20, 1 << 20]);
    let odd = Odd::start(|asked, _| {
        let mut said = usual(asked);
        if asked.method == "POST" {
            said.1.push(("OCI-Chunk-Min-Length", (10 << 20).to_string()));
        }
        said
    });
    push(&odd, 21 << 20).unwrap();
    let ranges: Vec<String> =
        odd.asked().iter().filter_map(|asked| asked.header("content-range").map(String::from)).collect();
    assert_eq!(ranges, ["0-10485759", "10485760-20971519", "20971520-22020095"]);
}

#[test]
fn a_registry_that_has_less_than_was_sent_gets_the_rest() {
    let half = 4 << 20;
    let odd = Odd::start(move |asked, before| {
        let mut said = usual(asked);
        if asked.method == "PATCH" && before == 0 && asked.path.contains("/upload/1") {
            said.1.push(("Range", format!("0-{}", half - 1)));
        }
        said
    });
    push(&odd, 9 << 20).unwrap();
    let ranges: Vec<String> =
        odd.asked().iter().filter_map(|asked| asked.header("content-range").map(String::from)).collect();
    assert_eq!(ranges, ["0-8388607", "4194304-9437183"]);
}

#[test]
fn another_private_host_is_not_gone_to() {
    let inside = Odd::start(|asked, _| usual(asked));
    let target = format!("http://{}/upload", inside.address.replace("127.0.0.1", "127.0.0.2"));
    let odd = Odd::start(move |asked, _| if asked.method == "POST" { located(202, &target) } else { usual(asked) });
    let error = push(&odd, 100).unwrap_err();
    assert!(error.contains("another host of a private network"), "{error}");
    let odd = Odd::start(|asked, _| match asked.method.as_str() {
        "POST" => located(202, "http://169.254.169.254/latest?sig=secret"),
        _ => usual(asked),
    });
    let error = push(&odd, 100).unwrap_err();
    assert!(error.contains("leads to `http://169.254.169.254/latest`") && !error.contains("secret"), "{error}");
    assert_eq!(inside.asked().len(), 0);
}

#[test]
fn another_port_is_another_host_and_gets_no_credentials() {
    let home = tempfile::tempdir().unwrap();
    let store = Odd::start(|asked, _| usual(asked));
    let target = format!("http://{}/upload", store.address);
    let odd = Odd::start(move |asked, _| match (asked.header("authorization"), asked.method.as_str()) {
        (None, _) => (401, vec![("WWW-Authenticate", "Basic realm=\"x\"".into())], String::new()),
        (_, "POST") => located(202, &target),
        _ => usual(asked),
    });
    let folder = home.path().join("image");
    layout::make(&folder, &[100]);
    let login = format!(r#"{{"auths":{{"{}":{{"auth":"{}"}}}}}}"#, odd.address, crate::LOGIN);
    let mut command = crate::nimify(home.path());
    command.arg("push").arg(&folder).args(["--to", &format!("{}/a:1", odd.address), "--plain-http"]);
    crate::passes(command.env("DOCKER_AUTH_CONFIG", login));
    assert!(store.asked().iter().any(|asked| asked.body.len() == 100));
    assert!(store.asked().iter().all(|asked| asked.header("authorization").is_none()));
    assert!(odd.asked().iter().any(|asked| asked.header("authorization") == Some(&format!("Basic {}", crate::LOGIN))));
}

#[test]
fn tokens_are_fetched_for_a_scope_and_renewed() {
    let home = tempfile::tempdir().unwrap();
    let tokens = Odd::start(|asked, before| {
        assert!(asked.is("POST", "/token"), "{asked:?}");
        (200, Vec::new(), format!(r#"{{"access_token":"t{before}","expires_in":300}}"#))
    });
    let realm = format!("Bearer realm=\"http://{}/token\",service=\"r\"", tokens.address);
    let odd = Odd::start(move |asked, _| {
        // The first token is good for looking, and runs out before the manifest is sent.
        let good = match asked.header("authorization") {
            Some("Bearer t1") => true,
            Some("Bearer t0") => !asked.is("PUT", "/manifests/"),
            _ => false,
        };
        if good { usual(asked) } else { (401, vec![("WWW-Authenticate", realm.clone())], String::new()) }
    });
    let folder = home.path().join("image");
    layout::make(&folder, &[100]);
    let login = format!(r#"{{"auths":{{"{}":{{"identitytoken":"refresh me"}}}}}}"#, odd.address);
    let mut command = crate::nimify(home.path());
    command.arg("push").arg(&folder).args(["--to", &format!("{}/ml/a:1", odd.address), "--plain-http"]);
    crate::passes(command.env("DOCKER_AUTH_CONFIG", login));
    let asked = tokens.asked();
    assert_eq!(asked.len(), 2, "{asked:?}");
    let form = String::from_utf8(asked[0].body.clone()).unwrap();
    assert_eq!(
        form,
        "grant_type=refresh_token&client_id=nimify&scope=repository%3Aml%2Fa%3Apull%2Cpush&service=r&refresh_token=refresh+me"
    );
}

#[test]
fn an_upload_goes_on_where_the_registry_says() {
    let odd = Odd::start(|asked, before| match asked.method.as_str() {
        "PATCH" if before == 0 && asked.path.contains("/upload/1") => plain(502),
        "GET" if before == 0 && asked.path.contains("/upload/1") => plain(503),
        "GET" if asked.path.contains("/upload/1") => {
            (204, vec![("Range", "0-2999999".into()), ("Location", "/upload/3".into())], String::new())
        }
        _ => usual(asked),
    });
    let report = push(&odd, 9 << 20).unwrap();
    let sent: Vec<Asked> = odd.asked().into_iter().filter(|asked| asked.method == "PATCH").collect();
    let ranges: Vec<_> = sent.iter().filter_map(|asked| asked.header("content-range")).collect();
    assert_eq!(ranges, ["0-8388607", "3000000-9437183"]);
    assert!(sent[1].path.contains("/upload/3"), "{}", sent[1].path);
    assert!(report.bytes_sent < 16 << 20, "{}", report.bytes_sent);
}

/// A registry that lists the documents about an image on pages, with where the page of this number leads.
fn on_pages(folder: &std::path::Path, documents: usize, leads: fn(usize) -> Option<String>) -> (Odd, Digest) {
    let image = layout::make_of(folder, &[b"a layer".to_vec()]);
    let documents: Vec<Digest> =
        (0..documents).map(|n| layout::refer(folder, &image, n.to_string().as_bytes())).collect();
    let blobs = folder.join("blobs/sha256");
    let odd = Odd::start(move |asked, _| {
        if let Some((_, query)) = asked.path.split_once("/referrers/") {
            let page = query.split_once("page=").map_or(0, |(_, page)| page.parse().unwrap());
            let Some(document) = documents.get(page) else { return plain(404) };
            let size = fs::metadata(blobs.join(document.hex())).unwrap().len();
            let entry = json!({ "mediaType": MANIFEST, "digest": document, "size": size });
            let index = json!({ "schemaVersion": 2, "manifests": [entry] }).to_string();
            let link = leads(page).map(|target| ("Link", format!("<{target}>; rel=\"next\"")));
            return (200, link.into_iter().collect(), index);
        }
        let named = asked.path.rsplit_once("/sha256:").map(|(_, hex)| blobs.join(hex));
        match named.and_then(|path| fs::read_to_string(path).ok()) {
            Some(text) => (200, vec![("Content-Type", MANIFEST.into())], text),
            None => plain(404),
        }
    });
    (odd, image)
}

#[test]
fn documents_about_an_image_are_read_from_all_pages() {
    let fetched = |documents: usize, leads: fn(usize) -> Option<String>| {
        let home = tempfile::tempdir().unwrap();
        let (odd, image) = on_pages(home.path(), documents, leads);
        let into = home.path().join("into");
        let reference: Reference = format!("{}/ml/digits", odd.address).parse().unwrap();
        let request = FetchRequest {
            repository: &reference.repository,
            digest: image,
            plain_http: true,
            at_hand: None,
            into: &into,
        };
        fetch(&request, &Count::default()).map_err(|error| error.to_string())?;
        let index = fs::read_to_string(into.join("index.json")).unwrap();
        Ok::<usize, String>(index.matches(r#""digest":"#).count() - 1)
    };
    assert_eq!(fetched(3, |page| (page < 2).then(|| format!("?page={}", page + 1))), Ok(3));
    let refused = |documents, leads| fetched(documents, leads).unwrap_err();
    // What is missing of a list may be the one signature that counts.
    assert!(refused(2, |page| Some(format!("?page={}", page + 1))).contains("lacks a page that it leads to"));
    assert!(refused(1, |_| Some("?page=0".into())).contains("on more than 64 pages"));
    assert!(refused(1, |_| Some("http://127.0.0.2/v2/a".into())).contains("another host of a private network"));
    assert!(refused(1, |_| Some("http://127.0.0.1:9/v2/a".into())).contains("which is another registry"));
}
