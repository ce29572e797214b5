//! `/v1/metadata/files/{file}`: what came with the model, for clients that have to make numbers of what they have.
//!
//! Each file is opened once, at the start, and asked for by a name of the list: no name of a client's ever becomes a path.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use hyper::header::{
    CACHE_CONTROL, CONTENT_LENGTH, ETAG, HeaderMap, HeaderValue, IF_NONE_MATCH, X_CONTENT_TYPE_OPTIONS,
};
use hyper::{Response as HttpResponse, StatusCode};
use tokio::sync::Semaphore;

use super::respond::{self, Response};
use super::route::Target;
use crate::app::App;
use crate::error::Error;
use crate::settings::SideFile;

/// Bytes that are in memory of each answer at a time.
const BLOCK: u64 = 64 << 10;

/// Reads at a time, of all answers: where a disk doesn't answer they hold a few of the threads that may wait, and not all.
static READS: Semaphore = Semaphore::const_new(MOST_READS as usize);
const MOST_READS: u32 = 16;

/// The files that came with the model and are here.
#[derive(Default)]
pub(crate) struct SideFiles(Vec<Opened>);

struct Opened {
    side: SideFile,
    etag: HeaderValue,
    file: Arc<File>,
}

impl SideFiles {
    /// Opens them. The model runs without them: one that isn't here, or has another size, is told in the log and to no
    /// client. Digests are held against each other only where `engine.verifyModel` asks for it.
    pub(crate) fn open(sides: &[SideFile]) -> SideFiles {
        let opened = sides.iter().filter_map(|side| match open(side) {
            Ok(opened) => Some(opened),
            Err(error) => {
                tracing::warn!(name = side.name, path = %side.path.display(), %error, "a side file is left out");
                None
            }
        });
        SideFiles(opened.collect())
    }

    /// Those that are here.
    pub(crate) fn list(&self) -> impl Iterator<Item = &SideFile> {
        self.0.iter().map(|opened| &opened.side)
    }
}

fn open(side: &SideFile) -> io::Result<Opened> {
    // Looked at before: to open a pipe waits.
    let size = std::fs::metadata(&side.path)?;
    if !size.is_file() || size.len() != side.size {
        return Err(io::Error::other(format!("it is no file of {} bytes", side.size)));
    }
    let etag = HeaderValue::try_from(format!("\"sha256:{}\"", side.sha256)).map_err(io::Error::other)?;
    Ok(Opened { side: side.clone(), etag, file: Arc::new(File::open(&side.path)?) })
}

/// One of them, or 304 where the client has it.
pub(super) fn file(app: &App, target: &Target, headers: &HeaderMap) -> Result<Response, Error> {
    let name = target.file.as_deref().unwrap_or_default();
    let found = app.documents.side_files.0.iter().find(|opened| opened.side.name == name);
    let opened = found
        .ok_or_else(|| Error::NotFound(format!("no file called `{}` came with this model", name.escape_default())))?;
    let size = opened.side.size;
    let mut response = if is_known(headers, &opened.etag) {
        let mut response = HttpResponse::new(Bytes::new().into());
        *response.status_mut() = StatusCode::NOT_MODIFIED;
        response
    } else {
        let content_type = HeaderValue::from_static(media_type(name));
        let response = respond::ok(content_type, Blocks { file: opened.file.clone(), at: 0, end: size, reading: None });
        respond::header(response, CONTENT_LENGTH, HeaderValue::from(size))
    };
    response.headers_mut().insert(ETAG, opened.etag.clone());
    // Kept, but asked for again: the next version of the model may have another.
    response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    response.headers_mut().insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    Ok(response)
}

/// By the name's end; what isn't text is bytes.
pub fn media_type(name: &str) -> &'static str {
    match name.rsplit_once('.').map(|(_, end)| end) {
        Some("json") => "application/json",
        Some("txt" | "jinja") => "text/plain; charset=utf-8",
        _ => "application/octet-stream",
    }
}

/// Whether `If-None-Match` names the tag.
fn is_known(headers: &HeaderMap, etag: &HeaderValue) -> bool {
    let texts = headers.get_all(IF_NONE_MATCH).iter().filter_map(|value| value.to_str().ok());
    let mut tags = texts.flat_map(|text| text.split(',')).map(|tag| tag.trim());
    tags.any(|tag| tag == "*" || tag.strip_prefix("W/").unwrap_or(tag).as_bytes() == etag.as_bytes())
}

/// What is left to send of a file. Read where waiting for a disk holds up nobody, and when the client has taken what came
/// before.
pub(crate) struct Blocks {
    file: Arc<File>,
    at: u64,
    end: u64,
    reading: Option<Pin<Box<dyn Future<Output = io::Result<Bytes>> + Send>>>,
}

impl Blocks {
    /// Bytes that are left.
    pub(super) fn left(&self) -> u64 {
        self.end - self.at
    }

    /// The next block. A file that can't be read ends early, which its client sees by the length that it was told.
    pub(super) fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Option<Bytes>> {
        if self.left() == 0 {
            return Poll::Ready(None);
        }
        let reading = self
            .reading
            .get_or_insert_with(|| Box::pin(read(self.file.clone(), self.at, (self.end - self.at).min(BLOCK))));
        let read = ready!(reading.as_mut().poll(cx));
        self.reading = None;
        Poll::Ready(match read {
            Ok(block) => {
                self.at += block.len() as u64;
                Some(block)
            }
            Err(error) => {
                tracing::warn!(%error, "a side file can't be read");
                None
            }
        })
    }
}

/// Reads a block once it is its turn. The turn goes with the read, and not with the client: a read that hangs goes on
/// when nobody waits for it any more.
async fn read(file: Arc<File>, at: u64, length: u64) -> io::Result<Bytes> {
    let turn = READS.acquire().await.map_err(io::Error::other)?;
    let read = tokio::task::spawn_blocking(move || {
        let _turn = turn;
        block(&file, at, length)
    });
    read.await.map_err(io::Error::other)?
}

fn block(file: &File, at: u64, length: u64) -> io::Result<Bytes> {
    let mut bytes = vec![0; length as usize];
    file.read_exact_at(&mut bytes, at)?;
    Ok(bytes.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_there_as_it_was_is_left_out() {
        let folder = tempfile::tempdir().unwrap();
        let side = |name: &str, size: u64| {
            let (path, sha256) = (folder.path().join(name), "ab".into());
            SideFile { name: name.into(), kind: crate::settings::SideKind::Tokenizer, path, size, sha256 }
        };
        std::fs::write(folder.path().join("a.json"), "{}").unwrap();
        std::fs::write(folder.path().join("b.json"), "{}").unwrap();
        let sides = SideFiles::open(&[side("a.json", 2), side("b.json", 3), side("c.json", 2), side("", 4096)]);
        assert_eq!(sides.list().map(|side| side.name.as_str()).collect::<Vec<_>>(), ["a.json"]);
    }

    #[tokio::test]
    async fn a_read_waits_for_its_turn() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("a"), "abc").unwrap();
        let file = Arc::new(File::open(folder.path().join("a")).unwrap());
        let turns = READS.acquire_many(MOST_READS).await.unwrap();
        let mut waits = Box::pin(read(file, 1, 2));
        assert!(tokio::time::timeout(std::time::Duration::from_millis(50), &mut waits).await.is_err());
        drop(turns);
        assert_eq!(waits.await.unwrap(), "bc");
    }

    #[test]
    fn tags_are_compared_weakly_one_by_one() {
        let known = |text: &'static str| {
            let headers = HeaderMap::from_iter([(IF_NONE_MATCH, HeaderValue::from_static(text))]);
            is_known(&headers, &HeaderValue::from_static("\"sha256:ab\""))
        };
        for text in ["\"sha256:ab\"", "\"x\", W/\"sha256:ab\"", "*"] {
            assert!(known(text), "{text}");
        }
        for text in ["", "sha256:ab", "\"sha256:abc\"", "\"*\""] {
            assert!(!known(text), "{text}");
        }
    }
}
