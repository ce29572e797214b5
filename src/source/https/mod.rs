//! `https://HOST/PATH[#sha256=HEX]`: one model file, and the files beside it that its weights are in.

mod name;

use std::collections::BTreeMap;

use url::Url;

pub use name::WebAddress;

use super::choose;
use super::download::{Downloaded, Wanted, download};
use super::listed::{Bring, Brought, Order};
use super::login;
use super::web::Client;
use super::{Error, FetchRequest};
use crate::files::RelativePath;
use crate::model;

/// Where credentials for a web host go.
const HINT: &str =
    "put a token into `NIMIFY_TOKEN_` with the host's name after it, or a line for the host into `~/.netrc`";

/// Fetches from such an address.
pub(super) struct Https<'a> {
    address: &'a WebAddress,
    client: Client,
}

impl<'a> Https<'a> {
    pub(super) fn new(request: &FetchRequest<'_>, address: &'a WebAddress) -> Result<Self, Error> {
        if address.plain_host().is_some() && !request.plain_http {
            return Err(Error::PlainHttp { source_name: address.name() });
        }
        let host = address.url.host_str().unwrap_or_default();
        let login = if request.offline { None } else { login::find(host, &|name| std::env::var_os(name))? };
        Ok(Https { address, client: Client::new(&address.url, login, HINT) })
    }

    /// A file beside the model.
    fn beside(&self, path: &RelativePath) -> Url {
        let mut url = self.address.url.clone();
        url.set_query(None);
        if let Ok(mut segments) = url.path_segments_mut() {
            segments.pop().extend(path.as_str().split('/'));
        }
        url
    }

    fn wanted(&self, url: &Url, known: Option<&String>) -> Wanted {
        let main = *url == self.address.url;
        let name = if main { self.address.name() } else { url.to_string() };
        let digest = self.address.digest.filter(|_| main);
        Wanted { url: url.clone(), name, identity: None, unless: known.cloned(), digest }
    }

    /// Whether all files are those that are known, by their entity tags.
    fn unchanged(&self, known: &BTreeMap<String, String>, order: &Order<'_>) -> Result<bool, Error> {
        for (path, tag) in known {
            let url = match path.is_empty() {
                true => self.address.url.clone(),
                false => self.beside(&path.parse().map_err(|_| order.wrong("was kept badly"))?),
            };
            match download(&self.client, &self.wanted(&url, Some(tag)), order)? {
                Downloaded::Unchanged => {}
                Downloaded::File { .. } => return Ok(false),
            }
        }
        Ok(!known.is_empty())
    }
}

impl Bring for Https<'_> {
    fn bring(&self, order: &mut Order<'_>) -> Result<Brought, Error> {
        let tags = order.known.and_then(|known| serde_json::from_str(known.validator.as_deref()?).ok());
        if self.unchanged(&tags.unwrap_or_default(), order)? {
            return Ok(Brought::Unchanged);
        }
        // By path; empty for the model itself.
        let mut tags = BTreeMap::new();
        let mut whole = true;
        let url = &self.address.url;
        let Downloaded::File { path, validator, name } = download(&self.client, &self.wanted(url, None), order)? else {
            return Err(order.wrong("did not come"));
        };
        whole &= validator.map(|tag| tags.insert(String::new(), tag)).is_some();
        let file = file_name(url, name.as_deref()).map_err(|name| {
            order
                .wrong(format!("is called `{name}`: a model is a single file of one of the formats that can be served"))
        })?;
        order.take(&file, &path)?;
        for path in model::needed(&order.files.path(&file), &model::Limits::default()) {
            let url = self.beside(&path);
            let Downloaded::File { path: part, validator, .. } =
                download(&self.client, &self.wanted(&url, None), order)?
            else {
                return Err(order.wrong("did not come"));
            };
            whole &= validator.map(|tag| tags.insert(path.as_str().into(), tag)).is_some();
            order.take(&path, &part)?;
        }
        let validator = whole.then(|| serde_json::to_string(&tags).expect("texts are JSON"));
        Ok(Brought::Files { revision: None, validator })
    }
}

/// What the model is to be called: as the address says, or the answer; else `model.onnx`. The name, where that is one of
/// another kind of file.
fn file_name(url: &Url, answered: Option<&str>) -> Result<RelativePath, String> {
    let plain = |name: &str| name.parse::<RelativePath>().ok().filter(|name| !name.as_str().contains('/'));
    let last = url.path_segments().and_then(|mut segments| segments.next_back()).unwrap_or_default();
    let decoded = percent_encoding::percent_decode_str(last).decode_utf8_lossy();
    let names: Vec<RelativePath> = [Some(&*decoded), answered].into_iter().flatten().filter_map(plain).collect();
    if let Some(name) = names.iter().find(|name| choose::is_model(name)) {
        return Ok(name.clone());
    }
    let other = names.iter().find(|name| {
        let end = name.as_str().rsplit_once('.').map_or("", |(_, end)| end);
        !end.is_empty() && end.len() <= 8 && end.chars().all(char::is_alphabetic)
    });
    match other {
        Some(other) => Err(other.as_str().into()),
        None => Ok("model.onnx".parse().expect("a plain name")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_model_has_a_name_that_says_its_format() {
        let name = |url: &str, answered: Option<&str>| file_name(&Url::parse(url).unwrap(), answered);
        let named = |text: &str| Ok(text.parse::<RelativePath>().unwrap());
        assert_eq!(name("https://h/a/b%20c.onnx?x=1", None), named("b c.onnx"));
        assert_eq!(name("https://h/download", Some("mine.ONNX")), named("mine.ONNX"));
        assert_eq!(name("https://h/download", Some("../mine.onnx")), named("model.onnx"));
        assert_eq!(name("https://h/v1.2", None), named("model.onnx"));
        assert_eq!(name("https://h/a.zip", None), Err("a.zip".into()));
    }
}
