//! A registry's list of the documents about an image, page after page.

use oci_spec::image::{Descriptor, ImageIndex};

use super::answer;
use super::client::Client;
use super::link::next;
use super::place::Place;
use super::transport::{Answer, host};
use super::{Error, Fault, HostError};
use crate::digest::Digest;

/// Most pages that are read: a registry that lists without end is not followed without end.
const MOST_PAGES: usize = 64;
/// Most entries of all pages.
const MOST_ENTRIES: usize = 10_000;

impl Client {
    /// What refers to an image, of all pages; `None` where the registry keeps no such list.
    pub(super) fn referrers(&self, image: &Digest) -> Result<Option<Vec<Descriptor>>, Error> {
        let attempt = format!("list what refers to {image} in `{}`", self.repository);
        let odd = |host: String, reason: String| Error::from(HostError::odd(&attempt, host, reason));
        let mut place = self.at(&format!("referrers/{image}"));
        let mut all = Vec::new();
        for page in 0..MOST_PAGES {
            let asked = self.request_at("GET", place, attempt.clone());
            let (answer, bytes) = match self.document(asked)? {
                Some(found) => found,
                None if page == 0 => return Ok(None),
                // It has listed that page itself: without it, a signature may be missing.
                None => return Err(odd(self.repository.host().into(), "lacks a page that it leads to".into())),
            };
            let index: ImageIndex = serde_json::from_slice(&bytes)
                .map_err(|error| odd(host(&answer.url), format!("is no index of documents ({error})")))?;
            all.extend(index.manifests().iter().cloned());
            if all.len() > MOST_ENTRIES {
                return Err(odd(host(&answer.url), format!("lists more than {MOST_ENTRIES} documents")));
            }
            let Some(next) = self.next_page(&attempt, &answer)? else { return Ok(Some(all)) };
            place = next;
        }
        Err(odd(self.repository.host().into(), format!("lists documents on more than {MOST_PAGES} pages")))
    }

    /// Where the next page is, if there is one: at the registry itself and nowhere else.
    fn next_page(&self, attempt: &str, answer: &Answer) -> Result<Option<Place>, Error> {
        let links = answer.headers.get_all("link").iter().filter_map(|value| value.to_str().ok());
        let Some(target) = links.filter_map(next).next() else { return Ok(None) };
        let place = answer::follow(self.base(), attempt, answer, target)?;
        if place.own {
            return Ok(Some(place));
        }
        let mut target = place.url;
        target.set_query(None);
        let fault = Fault::Astray { target: target.into(), reason: "which is another registry" };
        Err(HostError::new(attempt, host(&answer.url), fault).into())
    }
}
