//! Whose credentials requests to S3 are signed with.

use object_store::aws::AmazonS3ConfigKey as Key;

use super::keys::Keys;
use super::profile::Profile;
use super::role::{Role, TokenService};
use super::{container, process, profile};
use crate::source::Error;
use crate::source::surroundings::Surroundings;

/// Most profiles whose roles are assumed one after another.
const MOST_ROLES: usize = 5;

/// Where the credentials come from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Signer {
    Environment,
    /// A token of the platform's, exchanged for a role.
    WebIdentity {
        settings: Vec<(Key, String)>,
    },
    /// The keys that stand in a profile.
    Profile(Profile),
    /// A program that a profile names.
    Process {
        command: String,
        profile: Profile,
    },
    /// A role that is assumed with the credentials of another.
    Role(Role, Box<Signer>),
    Container,
    Machine,
    Nobody,
}

impl Signer {
    pub(super) fn find(around: &Surroundings, profile: Option<&Profile>) -> Result<Self, Error> {
        if around.get("AWS_ACCESS_KEY_ID").is_some() || around.get("AWS_SECRET_ACCESS_KEY").is_some() {
            return Ok(Signer::Environment);
        }
        if let (Some(file), Some(role)) = (around.get("AWS_WEB_IDENTITY_TOKEN_FILE"), around.get("AWS_ROLE_ARN")) {
            return Ok(Signer::WebIdentity { settings: identity(file, role, around.get("AWS_ROLE_SESSION_NAME")) });
        }
        let of_profile = profile.map(|profile| Signer::of_profile(around, profile, &mut Vec::new())).transpose()?;
        if let Some(signer) = of_profile.flatten() {
            return Ok(signer);
        }
        if [container::RELATIVE, container::FULL].iter().any(|name| around.get(name).is_some()) {
            return Ok(Signer::Container);
        }
        let asked = around.get("AWS_EC2_METADATA_SERVICE_ENDPOINT").is_some();
        Ok(match around.get("AWS_EC2_METADATA_DISABLED") {
            Some("false") => Signer::Machine,
            None if asked => Signer::Machine,
            _ => Signer::Nobody,
        })
    }

    /// What a profile says; `None` where it says nothing. `seen` are the profiles on the way to it.
    fn of_profile(around: &Surroundings, profile: &Profile, seen: &mut Vec<String>) -> Result<Option<Self>, Error> {
        let again = seen.contains(&profile.name);
        if let Some(role) = Role::of(profile)?.filter(|_| !again) {
            if let Some(file) = profile.get("web_identity_token_file") {
                let role = profile.get("role_arn").unwrap_or_default();
                let settings = identity(file, role, profile.get("role_session_name"));
                return Ok(Some(Signer::WebIdentity { settings }));
            }
            seen.push(profile.name.clone());
            if seen.len() > MOST_ROLES {
                return Err(profile.wrong(format!("it leads over more than {MOST_ROLES} roles")));
            }
            return Ok(Some(Signer::Role(role, Box::new(Signer::source(around, profile, seen)?))));
        }
        if profile.get("aws_access_key_id").is_some() {
            return Ok(Some(Signer::Profile(profile.clone())));
        }
        if let Some(command) = profile.get(profile::PROCESS) {
            return Ok(Some(Signer::Process { command: command.into(), profile: profile.clone() }));
        }
        match ["sso_session", "sso_start_url"].into_iter().find(|name| profile.get(name).is_some()) {
            Some(setting) => Err(profile.needs_exchange(setting)),
            None if again => Err(profile.wrong("its role leads back to itself, and it has no keys of its own")),
            None => Ok(None),
        }
    }

    /// Whose credentials a profile's role is assumed with.
    fn source(around: &Surroundings, profile: &Profile, seen: &mut Vec<String>) -> Result<Self, Error> {
        if let Some(name) = profile.get("source_profile") {
            let source = Profile::named(around, name)?
                .ok_or_else(|| profile.wrong(format!("there is no profile `{name}`, which it names as its source")))?;
            let signer = Signer::of_profile(around, &source, seen)?;
            return signer.ok_or_else(|| source.wrong("it has no credentials to assume a role with"));
        }
        match profile.get("credential_source") {
            Some("Environment") => Ok(Signer::Environment),
            Some("EcsContainer") => Ok(Signer::Container),
            Some("Ec2InstanceMetadata") => Err(profile.needs_exchange("credential_source = Ec2InstanceMetadata")),
            Some(other) => Err(profile.wrong(format!("its `credential_source` is `{other}`, which there is none of"))),
            None => Err(profile.wrong("its role has neither a `source_profile` nor a `credential_source`")),
        }
    }

    /// The credentials, for messages.
    pub(super) fn told(&self) -> String {
        match self {
            Signer::Environment => "the keys from `AWS_ACCESS_KEY_ID`".into(),
            Signer::WebIdentity { settings } => {
                let role = settings.iter().find(|(key, _)| *key == Key::RoleArn);
                format!("the role `{}`", role.map_or("", |(_, role)| role))
            }
            Signer::Profile(profile) | Signer::Process { profile, .. } => {
                format!("the keys of the profile `{}` from {}", profile.name, profile.origin)
            }
            Signer::Role(role, _) => format!("the role of the profile `{}`", role.profile),
            Signer::Container => "the container's credentials".into(),
            Signer::Machine => "the machine's credentials".into(),
            Signer::Nobody => "a request without credentials".into(),
        }
    }

    /// The keys, of those who have keys or are asked for them once.
    pub(super) fn keys(
        &self,
        around: &Surroundings,
        service: &dyn Fn() -> Result<TokenService, Error>,
    ) -> Result<Keys, Error> {
        let pair = |id: Option<&str>, secret: Option<&str>, token: Option<&str>, origin: &str| {
            let text = |text: Option<&str>| text.unwrap_or_default().trim().to_string();
            let session_token = token.map(|token| token.trim().to_string());
            Keys { access_key_id: text(id), secret_access_key: text(secret), session_token }.checked(origin)
        };
        match self {
            Signer::Environment => {
                let get = |name| around.get(name);
                let (id, secret) = (get("AWS_ACCESS_KEY_ID"), get("AWS_SECRET_ACCESS_KEY"));
                if id.is_none() || secret.is_none() {
                    let reason = "both have to be set".into();
                    return Err(Error::Credentials {
                        origin: "`AWS_ACCESS_KEY_ID` and `AWS_SECRET_ACCESS_KEY`".into(),
                        reason,
                    });
                }
                pair(id, secret, get("AWS_SESSION_TOKEN"), "`AWS_ACCESS_KEY_ID` and what belongs to it")
            }
            Signer::Profile(profile) => {
                let (id, secret) = (profile.get("aws_access_key_id"), profile.get("aws_secret_access_key"));
                pair(id, secret, profile.get("aws_session_token"), &format!("the profile `{}`", profile.name))
            }
            Signer::Process { command, profile } => process::ask(command, &profile.origin),
            Signer::Role(role, source) => {
                let keys = source.keys(around, service)?;
                let who = match &**source {
                    Signer::Environment => "`AWS_ACCESS_KEY_ID`".into(),
                    Signer::Container => "the container".into(),
                    Signer::Role(source, _) => format!("the profile `{}`", source.profile),
                    Signer::Profile(profile) | Signer::Process { profile, .. } => {
                        format!("the profile `{}`", profile.name)
                    }
                    other => other.told(),
                };
                role.assume(&keys, &service()?, &who)
            }
            Signer::Container => container::ask(around),
            Signer::WebIdentity { .. } | Signer::Machine | Signer::Nobody => Err(Error::Credentials {
                origin: self.told(),
                reason: "a role of a profile can't be assumed with it here: `aws configure export-credentials` gives \
                    keys"
                    .into(),
            }),
        }
    }
}

fn identity(file: &str, role: &str, session: Option<&str>) -> Vec<(Key, String)> {
    let mut settings = vec![(Key::WebIdentityTokenFile, file.to_string()), (Key::RoleArn, role.to_string())];
    settings.extend(session.map(|session| (Key::RoleSessionName, session.to_string())));
    settings
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(variables: &[(&str, &str)], credentials: &str) -> Result<Signer, Error> {
        let home = tempfile::tempdir().unwrap();
        std::fs::create_dir(home.path().join(".aws")).unwrap();
        std::fs::write(home.path().join(".aws/credentials"), credentials).unwrap();
        let around = Surroundings::made(variables, home.path());
        Signer::find(&around, Profile::find(&around)?.as_ref())
    }

    #[test]
    fn credentials_are_found_where_amazons_tools_find_them() {
        let keys = "[default]\naws_access_key_id = a\naws_secret_access_key = b\n";
        assert_eq!(of(&[], "").unwrap(), Signer::Nobody);
        assert!(matches!(of(&[], keys).unwrap(), Signer::Profile(profile) if profile.name == "default"));
        assert_eq!(of(&[("AWS_ACCESS_KEY_ID", "a")], keys).unwrap(), Signer::Environment);
        let role = [("AWS_WEB_IDENTITY_TOKEN_FILE", "/t"), ("AWS_ROLE_ARN", "arn")];
        assert!(matches!(of(&role, keys).unwrap(), Signer::WebIdentity { settings } if settings.len() == 2));
        let in_profile = "[default]\nrole_arn = arn\nweb_identity_token_file = /t\nrole_session_name = s\n";
        assert!(matches!(of(&[], in_profile).unwrap(), Signer::WebIdentity { settings } if settings.len() == 3));
        assert_eq!(of(&[("AWS_CONTAINER_CREDENTIALS_RELATIVE_URI", "/x")], "").unwrap(), Signer::Container);
        assert_eq!(of(&[("AWS_EC2_METADATA_DISABLED", "false")], "").unwrap(), Signer::Machine);
        let place = ("AWS_EC2_METADATA_SERVICE_ENDPOINT", "http://[fd00:ec2::254]");
        assert_eq!(of(&[place], "").unwrap(), Signer::Machine);
        assert_eq!(of(&[("AWS_EC2_METADATA_DISABLED", "true"), place], "").unwrap(), Signer::Nobody);
        let process = of(&[("AWS_PROFILE", "ml")], "[ml]\ncredential_process = tool --for ml\n").unwrap();
        assert!(matches!(process, Signer::Process { command, .. } if command == "tool --for ml"));
    }

    #[test]
    fn roles_are_followed_to_their_source() {
        let base = "[base]\naws_access_key_id = a\naws_secret_access_key = b\n";
        let two = "[default]\nrole_arn = r1\nsource_profile = middle\n[middle]\nrole_arn = r2\nsource_profile = base\n";
        let Signer::Role(_, source) = of(&[], &format!("{two}{base}")).unwrap() else { panic!("it is a role") };
        let Signer::Role(_, source) = *source else { panic!("so is its source") };
        assert!(matches!(*source, Signer::Profile(profile) if profile.name == "base"));
        // One that names itself has keys beside its role.
        let own = "[default]\nrole_arn = r1\nsource_profile = default\naws_access_key_id = a\n";
        assert!(matches!(of(&[], own).unwrap(), Signer::Role(_, source) if matches!(*source, Signer::Profile(_))));
        let container = of(&[], "[default]\nrole_arn = r1\ncredential_source = EcsContainer\n").unwrap();
        assert!(matches!(container, Signer::Role(_, source) if *source == Signer::Container));
        let long: String = (0..9).map(|n| format!("[p{n}]\nrole_arn = r\nsource_profile = p{}\n", n + 1)).collect();
        for (text, reason) in [
            ("[default]\nrole_arn = r\nsource_profile = default\n", "leads back to itself"),
            ("[default]\nrole_arn = r\nsource_profile = other\n", "there is no profile `other`"),
            ("[default]\nrole_arn = r\n", "neither a `source_profile` nor a `credential_source`"),
            ("[default]\nrole_arn = r\ncredential_source = Moon\n", "`Moon`, which there is none of"),
            ("[default]\nrole_arn = r\nmfa_serial = m\nsource_profile = base\n", "`mfa_serial`"),
            (&format!("[default]\nrole_arn = r\nsource_profile = p0\n{long}"), "more than 5 roles"),
        ] {
            let error = of(&[], text).unwrap_err().to_string();
            assert!(error.contains(reason), "{error}");
        }
    }

    #[test]
    fn a_profile_that_has_to_be_exchanged_says_how() {
        let error = of(&[], "[default]\nsso_session = a\n").unwrap_err().to_string();
        assert!(error.contains("`sso_session`") && error.contains("aws configure export-credentials"), "{error}");
    }

    #[test]
    fn keys_that_no_header_takes_are_refused_unseen() {
        let around = Surroundings::made(
            &[("AWS_ACCESS_KEY_ID", "a"), ("AWS_SECRET_ACCESS_KEY", "b"), ("AWS_SESSION_TOKEN", "hush\nhush")],
            std::path::Path::new("/nowhere"),
        );
        let service = || unreachable!("nobody asks for a role");
        let error = Signer::Environment.keys(&around, &service).unwrap_err().to_string();
        assert!(error.contains("`AWS_ACCESS_KEY_ID`") && !error.contains("hush"), "{error}");
    }
}
