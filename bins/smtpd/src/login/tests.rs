//! Who logs in while others fail.

use std::io::{Read, Write};
use std::os::unix::net::UnixListener;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::*;

#[tokio::test]
async fn a_right_password_for_another_s_name_is_slow_and_counted() {
    let logins = Logins::of(&Site::default(), SecretBytes::new(vec![1; 32])).unwrap();
    let addr = "192.0.2.7".parse().unwrap();
    for _ in 0..=30 {
        let (inner, _) = ServerExchange::start(
            Mechanism::Plain,
            Arc::clone(&logins.service),
            Channel::default(),
            &Nonce::random().unwrap(),
            0,
            None,
            &*logins.store,
        );
        let step = ServerStep::Failure(libmaps::sasl::mechanism::Failure {
            kind: FailureKind::NotAuthorized,
            reason: "not allowed to act as another user".into(),
            authid: Some(b"alice".to_vec()),
        });
        let (_, told) = Exchange { inner, addr }.told(&logins, step).await;
        assert!(matches!(told, Told::Failed { .. }));
    }
    let network = logins.failures.network(addr).unwrap();
    assert!(!logins.failures.slow_down(network).is_zero());
}

/// DESIGN.md, decision 8; sendmail's default list names both.
#[test]
fn cram_md5_and_digest_md5_are_offered_where_they_are_listed() {
    let both = "DIGEST-MD5 CRAM-MD5";
    let listed = format!("define(`confAUTH_MECHANISMS', `{both} SCRAM-SHA-256')dnl\n");
    let clear = Tls::default();
    for (mc, conf, offered, missing) in [
        ("", "", "", true),
        ("", "mech_list: PLAIN SCRAM-SHA-256\n", "", false),
        ("", "mech_list: CRAM-MD5 PLAIN\n", "CRAM-MD5", false),
        (&*listed, "", "DIGEST-MD5 CRAM-MD5 SCRAM-SHA-256", false),
        (&*listed, "mech_list: cram-md5\n", "CRAM-MD5", false),
        (
            "define(`confAUTH_MECHANISMS', `PLAIN')dnl\n",
            "",
            "PLAIN",
            false,
        ),
    ] {
        let root = tempfile::tempdir().unwrap();
        let write = |name: &str, text: &str| {
            let path = root.path().join(name);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        };
        write("etc/mail/sendmail.mc", &format!("{mc}MAILER(`local')dnl\n"));
        write("etc/sasl2/Sendmail.conf", conf);
        write("etc/sasldb2", "");
        let site = libmaps::site::load(Some(root.path()), None).unwrap().site;
        let logins = Logins::of(&site, SecretBytes::new(vec![1; 32])).unwrap();
        let names = logins.mechanisms(&clear, &[], logins.passwords());
        assert_eq!(names.join(" "), offered, "{mc}{conf}");
        assert_eq!(logins.missing().is_some(), missing, "{mc}{conf}");
    }
}

#[tokio::test]
async fn a_replica_that_was_never_made_is_no_wrong_password() {
    let root = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| std::fs::write(root.path().join(name), text).unwrap();
    std::fs::create_dir_all(root.path().join("etc/sasl2")).unwrap();
    write("etc/sasldb2.pgsql", "host db.example\nuser mail\n");
    let addr = "192.0.2.7".parse().unwrap();
    let site = Site {
        root: Some(root.path().into()),
        ..Site::default()
    };
    for (path, want) in [
        ("/etc/sasldb2", FailureKind::Rejected),
        ("/etc/sasldb2.pgsql", FailureKind::Unavailable),
    ] {
        write("etc/sasl2/Sendmail.conf", &format!("sasldb_path: {path}\n"));
        let logins = Logins::of(&site, SecretBytes::new(vec![1; 32])).unwrap();
        for (mechanism, first) in [
            (Mechanism::Plain, &b"\0alice\0secret"[..]),
            (Mechanism::Scram(ScramHash::Sha256), b"n,,n=alice,r=abcdef"),
        ] {
            let service = Arc::clone(&logins.service);
            let channel = Channel::default();
            let nonce = Nonce::random().unwrap();
            let work = move |accounts: &dyn Accounts| {
                ServerExchange::start(
                    mechanism,
                    service,
                    channel,
                    &nonce,
                    0,
                    Some(first),
                    accounts,
                )
            };
            let (_, step) = logins.run(addr, work).await.unwrap();
            match step {
                ServerStep::Failure(failure) => assert_eq!(failure.kind, want, "{path}"),
                // The decoy of one who has no account.
                _ => assert_eq!(want, FailureKind::Rejected, "{path}"),
            }
        }
    }
}

/// A saslauthd with so many workers, which takes its time for a "no"; it counts them.
fn slow_saslauthd(path: &Path, workers: usize, said: &Arc<AtomicUsize>) {
    let listener = Arc::new(UnixListener::bind(path).unwrap());
    for _ in 0..workers {
        let (listener, said) = (Arc::clone(&listener), Arc::clone(said));
        std::thread::spawn(move || {
            while let Ok((mut stream, _)) = listener.accept() {
                let mut request = [0; 1024];
                let got = stream.read(&mut request).unwrap_or(0);
                let right = request[..got].windows(5).any(|w| w == b"right");
                if !right {
                    std::thread::sleep(Duration::from_millis(20));
                    said.fetch_add(1, Ordering::SeqCst);
                }
                let _ = stream.write_all(if right { b"\0\x02OK" } else { b"\0\x02NO" });
            }
        });
    }
}

/// However many wrong passwords one network has on their way, a right one of another is not kept
/// waiting behind them all.
#[tokio::test(flavor = "multi_thread")]
async fn wrong_passwords_of_one_network_do_not_shut_out_others() {
    let root = tempfile::tempdir().unwrap();
    let conf = root.path().join("etc/sasl2");
    std::fs::create_dir_all(&conf).unwrap();
    let text = "pwcheck_method: saslauthd\nsaslauthd_path: /mux\nmech_list: PLAIN\n";
    std::fs::write(conf.join("Sendmail.conf"), text).unwrap();
    let said = Arc::new(AtomicUsize::new(0));
    slow_saslauthd(&root.path().join("mux"), 2, &said);
    let site = Site {
        root: Some(root.path().to_owned()),
        ..Site::default()
    };
    let logins = Arc::new(Logins::of(&site, SecretBytes::new(vec![1; 32])).unwrap());
    let strangers: Vec<_> = (0..70)
        .map(|_| {
            let logins = Arc::clone(&logins);
            tokio::spawn(async move {
                loop {
                    check(&logins, "198.51.100.1", b"wrong").await;
                }
            })
        })
        .collect();
    // They are all on their way.
    while said.load(Ordering::SeqCst) < 5 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    for _ in 0..5 {
        let before = said.load(Ordering::SeqCst);
        assert!(check(&logins, "192.0.2.7", b"right").await);
        let meanwhile = said.load(Ordering::SeqCst) - before;
        assert!(meanwhile < 35, "{meanwhile} before one right password");
    }
    for stranger in strangers {
        stranger.abort();
    }
}

async fn check(logins: &Logins, addr: &str, password: &'static [u8]) -> bool {
    let service = Arc::clone(&logins.service);
    let work = move |accounts: &dyn Accounts| {
        let password = Password::new(password.to_vec()).unwrap();
        accounts.check(&service, b"alice", &password)
    };
    let said = logins.run(addr.parse().unwrap(), work).await;
    said.unwrap().unwrap()
}
