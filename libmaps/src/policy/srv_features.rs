//! srv_features and its like: letters that switch features of a session on and off.

use crate::decision::{Decision, Trace};
use crate::rhs::Rhs;
use crate::table::access::{Tag, With};
use crate::table::question::ask_secret;

use super::facts::{Facts, Session};
use super::{Halt, Policy, Ruling, Scene};

/// `Srv_Features:` letters for this client; [`words`](crate::table::features::words) reads them.
/// `None` where nothing is said. A map that can't be read is no map that says nothing (`$#temp`):
/// it may forbid passwords in clear.
///
/// # Errors
/// Never at present; the type is that of all rulesets.
pub fn srv_features(
    policy: Policy<'_>,
    session: &Session,
    facts: &Facts,
) -> Ruling<Result<Option<Box<str>>, LookupFailed>> {
    features(policy, session, facts, Tag::SrvFeatures)
}

/// `Clt_Features:` letters for this server.
///
/// # Errors
/// Never at present; the type is that of all rulesets.
pub fn clt_features(
    policy: Policy<'_>,
    session: &Session,
    facts: &Facts,
) -> Ruling<Result<Option<Box<str>>, LookupFailed>> {
    features(policy, session, facts, Tag::CltFeatures)
}

/// FEATURE(tls_session_features): `TLS_Srv_Features:` options of TLS with this client, which
/// [`TlsFeatures`](crate::table::tls_features::TlsFeatures) reads.
///
/// # Errors
/// Never at present; the type is that of all rulesets.
pub fn tls_srv_features(
    policy: Policy<'_>,
    session: &Session,
    facts: &Facts,
) -> Ruling<Result<Option<Box<str>>, LookupFailed>> {
    features(policy, session, facts, Tag::TlsSrvFeatures)
}

/// FEATURE(tls_session_features): `TLS_Clt_Features:` options of TLS with this server.
///
/// # Errors
/// Never at present; the type is that of all rulesets.
pub fn tls_clt_features(
    policy: Policy<'_>,
    session: &Session,
    facts: &Facts,
) -> Ruling<Result<Option<Box<str>>, LookupFailed>> {
    features(policy, session, facts, Tag::TlsCltFeatures)
}

/// A map could not be read: whether it says anything is not known.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("map lookup failed")]
pub struct LookupFailed;

/// authinfo: the `AuthInfo:` entry for this server, which holds a password; the trace does not show it.
/// A map that can't be read is told from one without an entry: without its login, mail would be
/// refused that is welcome, and another login is for another server.
///
/// # Errors
/// Never at present; the type is that of all rulesets.
pub fn authinfo(
    policy: Policy<'_>,
    session: &Session,
    facts: &Facts,
) -> Ruling<Result<Option<Box<[u8]>>, LookupFailed>> {
    asked(policy, session, facts, Tag::AuthInfo)
}

/// The letters or options of an entry.
fn features(
    policy: Policy<'_>,
    session: &Session,
    facts: &Facts,
    tag: Tag,
) -> Ruling<Result<Option<Box<str>>, LookupFailed>> {
    let Decision { outcome, trace } = asked(policy, session, facts, tag)?;
    let text = |rhs: &[u8]| String::from_utf8_lossy(rhs).trim().into();
    let found = outcome.map(|found| found.as_deref().map(text));
    Ok(Decision::new(found, trace))
}

fn asked(
    policy: Policy<'_>,
    session: &Session,
    facts: &Facts,
    tag: Tag,
) -> Ruling<Result<Option<Box<[u8]>>, LookupFailed>> {
    let scene = Scene {
        policy,
        session,
        facts,
    };
    let mut trace = Trace::new();
    match look_up(&scene, &mut trace, tag) {
        Ok(outcome) => Ok(Decision::new(Ok(outcome), trace)),
        Err(Halt::Need(need)) => Err(need),
        Err(Halt::Lookup | Halt::Exchangers(_)) => Ok(Decision::new(Err(LookupFailed), trace)),
    }
}

fn look_up(scene: &Scene<'_>, trace: &mut Trace, tag: Tag) -> Result<Option<Box<[u8]>>, Halt> {
    let (site, session) = (scene.site(), scene.session);
    let (name, addr) = match tag {
        Tag::SrvFeatures | Tag::TlsSrvFeatures => (&session.client_name, &session.client_addr),
        _ => (&session.server_name, &session.server_addr),
    };
    let found = match tag {
        Tag::TlsSrvFeatures | Tag::TlsCltFeatures => {
            if !site.features.tls_session_features {
                return Ok(None);
            }
            scene.look_up_host(trace, tag, With::TagOnly, name, addr)?
        }
        Tag::AuthInfo => match &scene.policy.maps.authinfo {
            // A map of its own is asked for three exact keys.
            Some(map) => {
                let mut found = None;
                for key in [name.as_str(), addr.as_str(), ""] {
                    found = ask_secret(map, trace, &[b"AuthInfo:", key.as_bytes()])?;
                    if found.is_some() {
                        break;
                    }
                }
                found
            }
            None => scene.look_up_host_or_default(trace, tag, name, addr)?,
        },
        _ => scene.look_up_host_or_default(trace, tag, name, addr)?,
    };
    Ok(found.map(Rhs::into_bytes))
}

#[cfg(test)]
mod tests {
    use std::path::Path;
    use std::sync::Arc;

    use super::*;
    use crate::decision::Traced;
    use crate::map::{Entries, Entry, Map, MapClass, MapName, StoreError};
    use crate::policy::maps::Maps;
    use crate::site::Site;
    use crate::store::memory::MemoryMap;

    struct FailingMap(MapName);

    impl Map for FailingMap {
        fn get(&self, _: &[u8]) -> Result<Option<Rhs>, StoreError> {
            Err(StoreError::io(
                Path::new("authinfo.db"),
                "read",
                std::io::ErrorKind::Other.into(),
            ))
        }

        fn iter(&self) -> Entries<'_> {
            Box::new(std::iter::empty())
        }

        fn name(&self) -> &MapName {
            &self.0
        }
    }

    #[test]
    fn a_login_that_nobody_can_look_up_is_not_an_absent_one() {
        let ask = |map: Arc<dyn Map>| {
            let maps = Maps {
                authinfo: Some(Traced::new(map)),
                ..Maps::default()
            };
            let policy = Policy {
                site: &Site::default(),
                maps: &maps,
            };
            let session = Session {
                server_name: "relay.example".into(),
                server_addr: "192.0.2.1".into(),
                ..Session::default()
            };
            let ruled = authinfo(policy, &session, &Facts::new());
            ruled.map(|decision| decision.outcome).ok().unwrap()
        };
        let failing = FailingMap(MapName::new(MapClass::Hash, "authinfo"));
        assert_eq!(ask(Arc::new(failing)), Err(LookupFailed));
        assert_eq!(ask(Arc::new(MemoryMap::new("authinfo", []))), Ok(None));
        let rhs = &b"\"U:joe\" \"P:pa%%4\xe9\" \"R:%0\""[..];
        let map = MemoryMap::new("authinfo", [Entry::new("authinfo:192.0.2.1", rhs)]);
        let want = &b"\"U:joe\" \"P:pa%4\xe9\" \"R:AuthInfo:192.0.2.1\""[..];
        assert_eq!(ask(Arc::new(map)), Ok(Some(want.into())));
    }
}
