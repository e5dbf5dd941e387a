use super::*;
use crate::log::Verbosity;
use libmaps::sasl::edit::{AuthPassword, Keep, SaslDbEdit, derive_all};
use libmaps::sasl::secret::Recipe;
use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt;
use zeroize::Zeroizing;

fn set(path: &Path, user: &str, realm: &str, password: &str) {
    let user = UserId::new(user.as_bytes(), realm.as_bytes()).unwrap();
    let password = Password::new(password.into()).unwrap();
    let derived = derive_all(
        &[(user, password)],
        &Recipe::default(),
        Keep::Hashes,
        &|_| (),
    );
    let mut edit = SaslDbEdit::begin(path, "test").unwrap();
    edit.set(&derived.unwrap()[0], AuthPassword::Omit).unwrap();
    edit.publish().unwrap();
}

fn checker(path: &Path) -> SasldbChecker {
    let log = Arc::new(Log::new(Verbosity::Normal));
    log.detach();
    SasldbChecker::new(path, b"Mail.Example", log)
}

fn ask(checker: &mut SasldbChecker, login: &str, password: &str, realm: &str) -> bool {
    let answer = checker.check(&Request {
        login: login.into(),
        password: Zeroizing::new(password.into()),
        service: b"smtp".to_vec(),
        realm: realm.into(),
    });
    assert_eq!(answer.text().len(), 2, "{answer:?}");
    answer.is_ok()
}

#[test]
fn accounts_and_realms() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("sasldb2");
    set(&path, "alice", "example.org", "secret");
    set(&path, "bob", "mail.example", "hunter2");
    set(&path, "carol", "Mail.Example", "xyzzy");
    let mut checker = checker(&path);
    let cases = [
        ("alice", "secret", "example.org", true),
        ("alice", "Secret", "example.org", false),
        ("alice", "secret", "example.net", false),
        ("alice", "secret", "", false),
        ("alice@example.org", "secret", "", false),
        ("mallory", "secret", "example.org", false),
        // No realm: the host's name in lower case, or as it is.
        ("bob", "hunter2", "", true),
        ("carol", "xyzzy", "", true),
        ("bob", "hunter2", "Mail.Example", false),
    ];
    for (login, password, realm, want) in cases {
        let got = ask(&mut checker, login, password, realm);
        assert_eq!(got, want, "{login} {password} {realm}");
    }
}

#[test]
fn a_store_that_comes_late_changes_or_breaks() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("sasldb2");
    let mut checker = checker(&path);
    assert!(!ask(&mut checker, "alice", "old", "r"));
    set(&path, "alice", "r", "old");
    assert!(ask(&mut checker, "alice", "old", "r"));
    set(&path, "alice", "r", "new");
    assert!(!ask(&mut checker, "alice", "old", "r"));
    assert!(ask(&mut checker, "alice", "new", "r"));
    // Broken, then missing: the last good store goes on serving.
    std::fs::remove_file(&path).unwrap();
    std::fs::write(&path, "no store at all").unwrap();
    assert!(ask(&mut checker, "alice", "new", "r"));
    std::fs::remove_file(&path).unwrap();
    assert!(ask(&mut checker, "alice", "new", "r"));
}

#[test]
fn a_store_that_could_not_be_read_for_a_moment_is_read_when_it_can_be() {
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(name);
    set(&at("sasldb2"), "alice", "r", "old");
    set(&at("new"), "alice", "r", "new");
    let mut checker = checker(&at("sasldb2"));
    assert!(ask(&mut checker, "alice", "old", "r"));
    let request = Request {
        login: b"alice".to_vec(),
        password: Zeroizing::new(b"old".to_vec()),
        service: b"smtp".to_vec(),
        realm: b"r".to_vec(),
    };
    assert!(checker.check(&request).may_be_kept());
    // Whatever kept it from being read may pass without a trace at the file.
    std::fs::create_dir(at("folder")).unwrap();
    std::fs::rename(at("sasldb2"), at("before")).unwrap();
    std::fs::rename(at("folder"), at("sasldb2")).unwrap();
    let answer = checker.check(&request);
    assert!(answer.is_ok() && !answer.may_be_kept(), "{answer:?}");
    assert!(checker.watch.unseen().is_some(), "it is tried again");
    std::fs::remove_dir(at("sasldb2")).unwrap();
    // To who is not root it is unreadable now.
    let mode = |mode| std::fs::set_permissions(at("sasldb2"), Permissions::from_mode(mode));
    std::fs::rename(at("new"), at("sasldb2")).unwrap();
    mode(0o000).unwrap();
    ask(&mut checker, "alice", "old", "r");
    mode(0o600).unwrap();
    assert!(!ask(&mut checker, "alice", "old", "r"));
    assert!(ask(&mut checker, "alice", "new", "r"));
}
