//! Where a registry may send us: the addresses in `Location`.
//!
//! A registry's word is not enough to be led into the network that this machine stands in: another host than the
//! registry itself has to be a public one, gets no credentials, and never a connection without TLS where the registry
//! has it.

use std::fmt;
use std::net::IpAddr;

use ureq::config::Config;
use ureq::http::Uri;
use ureq::unversioned::resolver::{DefaultResolver, ResolvedSocketAddrs, Resolver};
use ureq::unversioned::transport::NextTimeout;
use url::{Host, Url};

/// An address to go to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Place {
    pub(crate) url: Url,
    /// Whether it is the registry itself, which alone gets credentials.
    pub(crate) own: bool,
    /// Whether it is another host, which has to be a public one.
    pub(crate) foreign: bool,
}

/// Where `location` leads from `here`, by a registry at `registry`; the reason where it isn't followed.
pub(crate) fn follow(registry: &Url, here: &Url, location: &str) -> Result<Place, (String, &'static str)> {
    let mut url = here.join(location).map_err(|_| (shown(location), "which is no address"))?;
    let said = |url: &Url| {
        let mut plain = url.clone();
        plain.set_query(None);
        plain.set_fragment(None);
        // Neither fails on an address that has a host.
        let _ = plain.set_password(None);
        let _ = plain.set_username("");
        plain.to_string()
    };
    if !matches!(url.scheme(), "https" | "http") {
        return Err((said(&url), "which is not HTTP"));
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err((said(&url), "with a name and password in the address"));
    }
    // Registries behind a proxy that speaks TLS for them often don't know about it.
    if registry.scheme() == "https" && url.scheme() == "http" && url.host() == registry.host() && url.port().is_none() {
        let port = registry.port();
        let _ = url.set_scheme("https");
        let _ = url.set_port(port);
    }
    if registry.scheme() == "https" && url.scheme() != "https" {
        return Err((said(&url), "which is not encrypted"));
    }
    let own = url.scheme() == registry.scheme()
        && url.host() == registry.host()
        && url.port_or_known_default() == registry.port_or_known_default();
    let foreign = url.host() != registry.host();
    if foreign && url.host().is_some_and(is_inside) {
        return Err((said(&url), "another host of a private network"));
    }
    Ok(Place { url, own, foreign })
}

/// What may be told of an address that is none: neither its query nor a name and password.
fn shown(text: &str) -> String {
    let text = text.split(['?', '#']).next().unwrap_or_default();
    text.rsplit('@').next().unwrap_or_default().chars().take(100).collect()
}

/// Whether nothing leaves this machine on the way to a host, written as in an address.
pub(crate) fn is_here(host: &str) -> bool {
    match Host::parse(host) {
        Ok(Host::Ipv4(address)) => address.is_loopback(),
        Ok(Host::Ipv6(address)) => address.to_canonical().is_loopback(),
        // Names below it are resolved elsewhere by some.
        Ok(Host::Domain(name)) => name.trim_end_matches('.') == "localhost",
        Err(_) => false,
    }
}

/// Whether a host is this machine or on its own link, where nothing routes: there a cloud answers who the machine is.
pub(crate) fn is_near(host: &str) -> bool {
    let link = match Host::parse(host) {
        Ok(Host::Ipv4(address)) => address.is_link_local(),
        // Amazon's hosts of that kind have addresses of their own network.
        Ok(Host::Ipv6(address)) => address.is_unicast_link_local() || address.segments()[..2] == [0xfd00, 0xec2],
        _ => false,
    };
    link || is_here(host)
}

fn is_inside(host: Host<&str>) -> bool {
    match host {
        Host::Ipv4(address) => !is_public(address.into()),
        Host::Ipv6(address) => !is_public(address.into()),
        Host::Domain(name) => {
            let name = name.trim_end_matches('.');
            name.eq_ignore_ascii_case("localhost") || name.to_ascii_lowercase().ends_with(".localhost")
        }
    }
}

/// Whether an address is one of the open internet.
fn is_public(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(v4) => {
            let [a, b, ..] = v4.octets();
            let shared = a == 100 && (64..128).contains(&b);
            !(v4.is_private()
                || v4.is_loopback()
                || v4.is_link_local()
                || v4.is_multicast()
                || a == 0
                || a >= 240
                || shared)
        }
        IpAddr::V6(v6) => {
            let inner = v6.to_ipv4_mapped().or_else(|| {
                // NAT64 leads to any address of version 4.
                let [prefix @ .., a, b] = v6.segments();
                let bytes = [(a >> 8) as u8, a as u8, (b >> 8) as u8, b as u8];
                (prefix == [0x64, 0xff9b, 0, 0, 0, 0]).then(|| bytes.into())
            });
            match inner {
                Some(v4) => is_public(v4.into()),
                None => {
                    let first = v6.segments()[0];
                    let (unique_local, link_local) = (first & 0xfe00 == 0xfc00, first & 0xffc0 == 0xfe80);
                    !(v6.is_loopback() || v6.is_unspecified() || v6.is_multicast() || unique_local || link_local)
                }
            }
        }
    }
}

/// Resolves names to public addresses alone: what a name leads to is only known here, right before it is connected.
#[derive(Debug, Default)]
pub(crate) struct PublicOnly(DefaultResolver);

impl Resolver for PublicOnly {
    fn resolve(&self, uri: &Uri, config: &Config, timeout: NextTimeout) -> Result<ResolvedSocketAddrs, ureq::Error> {
        let found = self.0.resolve(uri, config, timeout)?;
        // The user's own proxy may stand anywhere.
        if config.proxy().is_some_and(|proxy| Some(proxy.host()) == uri.host()) {
            return Ok(found);
        }
        let mut public = self.empty();
        found.iter().filter(|address| is_public(address.ip())).for_each(|address| public.push(*address));
        if public.is_empty() { Err(std::io::Error::other(Inside).into()) } else { Ok(public) }
    }
}

/// A name that leads into a private network.
#[derive(Debug)]
pub(crate) struct Inside;

impl fmt::Display for Inside {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("it is a host of a private network, where a registry elsewhere doesn't send us")
    }
}

impl std::error::Error for Inside {}

#[cfg(test)]
mod tests {
    use super::*;

    fn to(registry: &str, location: &str) -> Result<(String, bool), &'static str> {
        let registry: Url = registry.parse().unwrap();
        let here = registry.join("/v2/a/blobs/uploads/").unwrap();
        follow(&registry, &here, location).map(|place| (place.url.to_string(), place.own)).map_err(|(_, why)| why)
    }

    #[test]
    fn relative_and_absolute_locations_keep_their_query() {
        let own = |url: &str| Ok((url.to_string(), true));
        let registry = "https://r.example.com:5000/";
        assert_eq!(to(registry, "/v2/x?_state=a%2Bb"), own("https://r.example.com:5000/v2/x?_state=a%2Bb"));
        assert_eq!(to(registry, "u?x=1"), own("https://r.example.com:5000/v2/a/blobs/uploads/u?x=1"));
        assert_eq!(to(registry, "https://R.example.com:5000/u"), own("https://r.example.com:5000/u"));
        assert_eq!(to(registry, "http://r.example.com/u"), own("https://r.example.com:5000/u"), "behind a proxy");
        assert_eq!(to("https://r.example.com/", "https://r.example.com:443/u"), own("https://r.example.com/u"));
    }

    #[test]
    fn other_hosts_get_no_credentials_and_have_to_be_public() {
        let foreign = |url: &str| Ok((url.to_string(), false));
        let registry = "https://r.example.com/";
        assert_eq!(to(registry, "https://store.example.com/b?sig=1"), foreign("https://store.example.com/b?sig=1"));
        assert_eq!(to(registry, "https://r.example.com:8443/b"), foreign("https://r.example.com:8443/b"));
        for inside in [
            "https://127.0.0.1/",
            "https://10.1.2.3/",
            "https://192.168.0.1/",
            "https://172.16.0.1/",
            "https://169.254.169.254/latest/meta-data",
            "https://100.64.0.1/",
            "https://0.0.0.0/",
            "https://2130706433/",
            "https://localhost/",
            "https://a.LOCALHOST./",
            "https://[::1]/",
            "https://[fe80::1]/",
            "https://[fd00::1]/",
            "https://[::ffff:10.0.0.1]/",
            "https://[64:ff9b::a00:1]/",
        ] {
            assert_eq!(to(registry, inside), Err("another host of a private network"), "{inside}");
        }
        // A registry inside may use its own host, on another port without credentials.
        assert!(!to("http://127.0.0.1:5000/", "http://127.0.0.1:9000/u").unwrap().1);
        assert!(to("http://127.0.0.1:5000/", "http://127.0.0.1:5000/u").unwrap().1);
        assert!(to("http://127.0.0.1:5000/", "http://127.0.0.2:5000/u").is_err());
    }

    #[test]
    fn here_is_what_is_never_sent_anywhere() {
        for here in ["localhost", "LOCALHOST.", "127.0.0.1", "127.0.0.2", "127.1", "[::1]", "[::ffff:127.0.0.1]"] {
            assert!(is_here(here), "{here}");
        }
        for elsewhere in ["a.localhost", "localhost.example.com", "10.0.0.1", "0.0.0.0", "[::]", "[fe80::1]", "::1", ""]
        {
            assert!(!is_here(elsewhere), "{elsewhere}");
        }
        for near in ["127.0.0.1", "localhost", "169.254.169.254", "169.254.170.2", "[fe80::1]", "[fd00:ec2::254]"] {
            assert!(is_near(near), "{near}");
        }
        for far in ["10.0.0.1", "example.com", "[fd00::1]", "metadata.google.internal"] {
            assert!(!is_near(far), "{far}");
        }
    }

    #[test]
    fn nothing_leads_out_of_tls_or_to_what_is_not_http() {
        let registry = "https://r.example.com/";
        assert_eq!(to(registry, "http://store.example.com/b"), Err("which is not encrypted"));
        assert_eq!(to(registry, "file:///etc/passwd"), Err("which is not HTTP"));
        assert_eq!(to(registry, "https://a:b@r.example.com/"), Err("with a name and password in the address"));
        assert_eq!(to(registry, "https://"), Err("which is no address"));
        let (said, _) = follow(&registry.parse().unwrap(), &registry.parse().unwrap(), "http://x/?sig=s").unwrap_err();
        assert_eq!(said, "http://x/");
        let odd = "https://ada:hunter2@store:99999/x?sig=hunter2";
        let (said, _) = follow(&registry.parse().unwrap(), &registry.parse().unwrap(), odd).unwrap_err();
        assert_eq!(said, "store:99999/x");
    }
}
