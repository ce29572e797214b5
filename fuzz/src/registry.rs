//! What a registry says in the heads of its answers.

#[path = "../../src/registry/challenge.rs"]
mod challenge;
#[path = "../../src/registry/link.rs"]
mod link;

/// The service of tokens that a challenge names, and how it calls the registry.
pub fn token_service(challenge: &str) -> Option<(String, Option<String>)> {
    match challenge::choose(std::iter::once(challenge))? {
        challenge::Challenge::Bearer { realm, service } => Some((realm, service)),
        challenge::Challenge::Basic => None,
    }
}

/// Where the next page of a list is.
pub fn next_page(link: &str) -> Option<&str> {
    link::next(link)
}
