//! Stores written and read again.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};

use super::*;
use crate::sasl::secret::{Argon2id, Toll};

fn user(text: &str) -> UserId {
    UserId::resolve(text.as_bytes(), b"example.org").unwrap()
}

fn account(name: &str, password: &str, keep: Keep) -> NewAccount {
    let password = Password::new(password.into()).unwrap();
    let mut all = derive_all(&[(user(name), password)], &Recipe::default(), keep, &|_| ()).unwrap();
    all.remove(0)
}

fn listed(path: &Path) -> Vec<String> {
    let db = SaslDb::open(path).unwrap();
    db.records()
        .map(|r| {
            let r = r.unwrap();
            format!("{} {}", r.user, String::from_utf8_lossy(&r.property))
        })
        .collect()
}

fn holds(path: &Path, text: &str) -> bool {
    let octets = fs::read(path).unwrap();
    memchr::memmem::find(&octets, text.as_bytes()).is_some()
}

#[test]
fn set_change_and_remove() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("sasldb2");
    for password in ["tanstaaf-one", "tanstaaf-two"] {
        let mut edit = SaslDbEdit::begin(&path, "test").unwrap();
        edit.set(
            &account("alice", password, Keep::Hashes),
            AuthPassword::Omit,
        )
        .unwrap();
        edit.publish().unwrap();
        let db = SaslDb::open(&path).unwrap();
        let right = Password::new(password.into()).unwrap();
        assert!(db.verify(&user("alice"), &right, &Toll::default()).unwrap());
        assert_eq!(listed(&path), ["alice@example.org hashedPassword"]);
        assert!(!holds(&path, "tanstaaf"));
    }
    let mut edit = SaslDbEdit::begin(&path, "test").unwrap();
    assert!(!edit.remove(&user("bob")).unwrap());
    assert!(edit.remove(&user("alice")).unwrap());
    edit.publish().unwrap();
    assert_eq!(listed(&path), Vec::<String>::new());
    assert!(!holds(&path, "alice"), "freed pages hold the account");
}

#[test]
fn clear_text_goes_with_the_next_password() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("sasldb2");
    let steps = [
        (
            Keep::ClearText,
            AuthPassword::Also,
            &["authPassword", "hashedPassword", "userPassword"][..],
        ),
        (Keep::Hashes, AuthPassword::Only, &["authPassword"]),
        (Keep::Hashes, AuthPassword::Omit, &["hashedPassword"]),
    ];
    for (keep, auth, want) in steps {
        let mut edit = SaslDbEdit::begin(&path, "test").unwrap();
        edit.set(&account("alice", "tanstaaf", keep), auth).unwrap();
        edit.publish().unwrap();
        let want: Vec<String> = want
            .iter()
            .map(|p| format!("alice@example.org {p}"))
            .collect();
        assert_eq!(listed(&path), want);
        assert_eq!(holds(&path, "tanstaaf"), keep == Keep::ClearText);
    }
}

#[test]
fn empty_files_links_and_modes() {
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(name);
    let set = |name: &str| {
        let mut edit = SaslDbEdit::begin(&at(name), "test")?;
        edit.set(
            &NewAccount {
                user: user("alice"),
                secrets: Secrets {
                    argon2id: Some(Argon2id::derive(b"x", b"saltsaltsaltsalt").unwrap()),
                    ..Secrets::default()
                },
            },
            AuthPassword::Omit,
        )?;
        edit.publish().map(drop)
    };
    fs::write(at("empty"), "").unwrap();
    set("empty").unwrap();
    fs::set_permissions(at("empty"), fs::Permissions::from_mode(0o600)).unwrap();
    symlink("empty", at("link")).unwrap();
    set("link").unwrap();
    assert!(at("link").symlink_metadata().unwrap().is_symlink());
    let mode = fs::metadata(at("empty")).unwrap().permissions().mode();
    assert_eq!(mode & 0o7777, 0o600);
    symlink("nowhere", at("dangling")).unwrap();
    set("dangling").unwrap();
    assert!(at("dangling").symlink_metadata().unwrap().is_file());
    assert!(!at("nowhere").exists());
    fs::write(at("text"), "this is not a database\n".repeat(20)).unwrap();
    assert!(matches!(set("text"), Err(StoreError::Foreign { .. })));
    fs::create_dir(at("folder")).unwrap();
    assert!(set("folder").is_err());
    assert!(set("no/such/sasldb2").is_err());
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 5);
}

#[test]
fn many_are_derived_in_order() {
    let password = Password::new(b"pw".to_vec()).unwrap();
    let accounts: Vec<_> = (0..9)
        .map(|i| (user(&format!("u{i}")), password.clone()))
        .collect();
    let told = AtomicUsize::new(0);
    let all = derive_all(&accounts, &Recipe::default(), Keep::Hashes, &|n| {
        told.fetch_max(n, Ordering::Relaxed);
    })
    .unwrap();
    assert_eq!(told.into_inner(), 9);
    let names: Vec<_> = all.iter().map(|a| a.user.clone()).collect();
    let want: Vec<_> = accounts.into_iter().map(|(user, _)| user).collect();
    assert_eq!(names, want);
    assert_ne!(all[0].secrets, all[1].secrets, "salts differ");
}

/// `text-records.sasldb2` is of the program that kept the words of the CSV in its records.
#[test]
fn a_store_of_the_first_format_is_read_and_written() {
    let recorded = Path::new(env!("CARGO_MANIFEST_DIR")).join("../testdata/sasldb2");
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("sasldb2");
    fs::copy(recorded.join("text-records.sasldb2"), &path).unwrap();
    let mechanisms = |name: &str| {
        let secrets = SaslDb::open(&path).unwrap().secrets(&user(name)).unwrap();
        let secrets = secrets.unwrap();
        (secrets.scram_sha256.is_some(), secrets.cram_md5.is_some())
    };
    let opens = |name: &str, password: &str| {
        let password = Password::new(password.into()).unwrap();
        let db = SaslDb::open(&path).unwrap();
        db.verify(&user(name), &password, &Toll::default()).unwrap()
    };
    assert!(opens("alice", "secret"));
    assert!(opens("bob", "kept"));
    assert!(opens("carol", "secret"));
    assert_eq!(mechanisms("carol"), (false, true));

    let mut edit = SaslDbEdit::begin(&path, "test").unwrap();
    assert_eq!(edit.clear_text_accounts().unwrap(), [], "it is ours");
    edit.set(&account("bob", "changed", Keep::Hashes), AuthPassword::Omit)
        .unwrap();
    edit.publish().unwrap();
    assert!(opens("alice", "secret"));
    assert!(opens("bob", "changed") && !opens("bob", "kept"));
    assert_eq!(mechanisms("alice"), (true, true));
    assert_eq!(mechanisms("bob"), (true, true));
}

#[test]
fn the_first_write_hashes_what_cyrus_sasl_kept() {
    let recorded = Path::new(env!("CARGO_MANIFEST_DIR")).join("../testdata/sasldb2");
    let rows = fs::read_to_string(recorded.join("small.rows.json")).unwrap();
    let rows: Vec<[String; 4]> = serde_json::from_str(&rows).unwrap();
    for converted_before in [false, true] {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("sasldb2");
        fs::copy(recorded.join("small.sasldb2"), &path).unwrap();
        if converted_before {
            let options = Options::new(MapClass::Hash, "test");
            Publisher::edit(&path, options).unwrap().publish().unwrap();
        }
        let mut edit = SaslDbEdit::begin(&path, "test").unwrap();
        let clear = edit.clear_text_accounts().unwrap();
        assert_eq!(clear.len(), rows.len());
        for account in derive_all(&clear, &Recipe::default(), Keep::Hashes, &|_| ()).unwrap() {
            edit.convert(&account).unwrap();
        }
        edit.publish().unwrap();
        let db = SaslDb::open(&path).unwrap();
        for [authid, realm, _, password] in &rows {
            let user = UserId::new(authid.as_bytes(), realm.as_bytes()).unwrap();
            // The rows are octets as Latin-1.
            let octets = password
                .chars()
                .map(|c| u8::try_from(u32::from(c)).unwrap());
            let right = Password::new(octets.collect()).unwrap();
            assert!(
                db.verify(&user, &right, &Toll::default()).unwrap(),
                "{user}"
            );
            assert!(!holds(&path, &format!("userPassword{password}")));
        }
        assert!(listed(&path).iter().all(|l| l.ends_with("hashedPassword")));
        let kept = fs::metadata(dir.path().join("sasldb2.bdb")).unwrap();
        assert_eq!(kept.permissions().mode() & 0o7777, 0o600);
    }
}
