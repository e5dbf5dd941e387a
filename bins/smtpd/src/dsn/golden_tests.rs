//! A notice of each kind, whole, as it stands in `testdata/smtp/notices/`.

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;

use libmaps::site::Site;
use libmaps::site::diagnostic::Place;

use super::*;
use crate::clock::Civil;
use crate::deliver::outcome::{KeepsTime, Notifies, Remote};
use crate::queue::{Envelope, Expanded, Octets, Progress, QueuedRecipient, QueuedTarget};
use crate::session::{ByMode, Notify, Ret};

const ARRIVED: u64 = 1_795_233_730;
const MESSAGE: &str = "Received: from client.example (client.example [127.0.0.2])\r\n\tby mx.test.example (smtpd 0) with ESMTP id 6AL42APA000001;\r\n\tSat, 21 Nov 2026 04:02:10 GMT\r\nSubject: hello\r\nFrom: joe@b.example\r\n\r\nbody\r\n";
const ALL: Notify = Notify {
    success: true,
    failure: true,
    delay: true,
};

pub(super) fn site(options: &[(&str, &str)]) -> Site {
    let mut site = Site {
        host_name: "mx.test.example".into(),
        ..Site::default()
    };
    let place = Place::new(std::path::Path::new("test.mc"), 1);
    for (name, value) in options {
        site.options.set(name, value, &place).unwrap();
    }
    site
}

pub(super) fn recipient(address: &str, notify: Option<Notify>) -> QueuedRecipient {
    QueuedRecipient {
        address: address.into(),
        notify,
        expanded: Expanded::Yes,
        ..QueuedRecipient::default()
    }
}

pub(super) fn envelope(sender: &str, recipients: Vec<QueuedRecipient>) -> Envelope {
    Envelope {
        id: "6AL42APA000001".into(),
        created_unix: ARRIVED,
        tries: 1,
        tried_unix: ARRIVED + 5,
        sender: sender.into(),
        size_octets: MESSAGE.len() as u64,
        relay: "client.example [127.0.0.2]".into(),
        recipients,
        ..Envelope::default()
    }
}

pub(super) fn copy(recipient: usize, mailer: &str, user: &str, progress: Progress) -> QueuedTarget {
    QueuedTarget {
        recipient,
        mailer: mailer.into(),
        user: user.into(),
        progress,
        ..QueuedTarget::default()
    }
}

pub(super) fn failed(status: &str, text: &str) -> Progress {
    Progress::Failed {
        status: status.into(),
        text: text.into(),
    }
}

fn remote(reply: &str, notifies: Notifies) -> Option<Box<Remote>> {
    Some(Box::new(Remote {
        host: "mx.far.example".into(),
        addr: Some(SocketAddr::from(([192, 0, 2, 9], 25))),
        reply: reply.into(),
        notifies,
        keeps_time: KeepsTime::Yes,
    }))
}

/// Writes every notice of the plan, one behind the other.
pub(super) fn written(
    site: &Site,
    envelope: &Envelope,
    late: Option<Late>,
    message: &[u8],
    change: impl Fn(&mut Clerk<'_>),
) -> Vec<(Vec<u8>, Written)> {
    let open = || -> io::Result<Box<dyn io::Read + Send>> {
        Ok(Box::new(io::Cursor::new(message.to_vec())))
    };
    let plan = plan(site, envelope, late);
    let write_one = |notice: &Notice| {
        let mut clerk = Clerk {
            id: "6AL42FPA000002",
            host: &site.host_name,
            daemon: "MAILER-DAEMON",
            secret: "0123456789abcdef",
            now_unix: ARRIVED + 5,
            date: &|unix| Civil::utc(unix).rfc5322(),
            stamp: "202611210402",
            error_header: "",
            remarks: &[],
            waited: "",
            by_unix: None,
            actual: ShowActual::Yes,
            form: Form::Mime,
        };
        change(&mut clerk);
        let mut out = Vec::new();
        let written = write(&clerk, notice, envelope, &open, &mut out).unwrap();
        (out, written)
    };
    plan.notices.iter().map(write_one).collect()
}

fn golden(name: &str, notices: Vec<(Vec<u8>, Written)>) {
    let version = env!("CARGO_PKG_VERSION");
    let texts: Vec<String> = notices
        .into_iter()
        .map(|(octets, _)| {
            let text = String::from_utf8(octets).unwrap();
            assert!(
                !text.replace("\r\n", "").contains(['\r', '\n']),
                "{name}: a bare CR or LF"
            );
            text.replace("\r\n", "\n")
                .replace(&format!("(smtpd {version})"), "(smtpd VERSION)")
        })
        .collect();
    let got = texts.join("######## next notice\n");
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR"))
        .join("../../testdata/smtp/notices")
        .join(format!("{name}.notice"));
    if std::env::var_os("UPDATE_GOLDENS").is_some() {
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, &got).unwrap();
    }
    let want = std::fs::read_to_string(&path).unwrap_or_default();
    assert_eq!(
        got,
        want,
        "{name}: UPDATE_GOLDENS=1 rewrites {}",
        path.display()
    );
}

#[test]
fn failure_at_another_host_and_here() {
    let mut envelope = envelope(
        "joe@b.example",
        vec![
            recipient("bad@far.example", None),
            recipient("full@test.example", None),
            recipient("fine@test.example", None),
        ],
    );
    envelope.envid = Some("QQ+2B314".into());
    envelope.recipients[0].orcpt = Some("rfc822;Bad+2BOne@far.example".into());
    envelope.targets = vec![
        QueuedTarget {
            remote: remote("550 5.1.1 no such user here", Notifies::Yes),
            ..copy(
                0,
                "esmtp",
                "bad@far.example",
                failed("5.1.1", "550 5.1.1 no such user here"),
            )
        },
        copy(
            1,
            "local",
            "full",
            failed("5.3.0", "Can't create output: sorry... mailbox is full"),
        ),
        copy(2, "local", "fine", Progress::Done),
    ];
    let site = site(&[]);
    golden(
        "failure",
        written(&site, &envelope, None, MESSAGE.as_bytes(), |_| {}),
    );
    golden(
        "failure-plain",
        written(&site, &envelope, None, MESSAGE.as_bytes(), |clerk| {
            clerk.form = Form::Plain;
            clerk.error_header = "Questions?\nAsk mx.test.example.";
        }),
    );
    envelope.ret = Some(Ret::Headers);
    golden(
        "failure-headers-and-copy",
        written(
            &super::golden_tests::site(&[("PostmasterCopy", "root")]),
            &envelope,
            None,
            MESSAGE.as_bytes(),
            |clerk| clerk.actual = ShowActual::No,
        ),
    );
}

#[test]
fn members_of_an_alias_and_the_owner_of_a_list() {
    let mut envelope = envelope(
        "joe@b.example",
        vec![
            recipient("prog@test.example", None),
            recipient("list@test.example", Some(ALL)),
        ],
    );
    envelope.recipients[1].expanded = Expanded::List { told: false };
    envelope.targets = vec![
        copy(
            0,
            "prog",
            "|exit 69",
            failed("5.0.0", "Service unavailable"),
        ),
        QueuedTarget {
            owner: Some("owner-list@test.example".into()),
            ..copy(
                1,
                "error",
                "gone",
                failed("5.1.1", "/etc/mail/list: line 7: gone... User unknown"),
            )
        },
    ];
    golden(
        "members-and-owner",
        written(&site(&[]), &envelope, None, MESSAGE.as_bytes(), |_| {}),
    );
}

#[test]
fn delay_and_time_out() {
    let mut envelope = envelope("joe@b.example", vec![recipient("later@far.example", None)]);
    envelope.targets = vec![QueuedTarget {
        remote: remote("451 4.7.1 greylisted, come back", Notifies::Yes),
        status: "4.7.1".into(),
        last: "451 4.7.1 greylisted, come back".into(),
        ..copy(0, "esmtp", "later@far.example", Progress::Waiting)
    }];
    envelope.tried_unix = ARRIVED + 4 * 3600;
    let late = Some(Late {
        until_unix: Some(ARRIVED + 5 * 86_400),
    });
    let remarks: &[String] = vec![
        "Warning: message still undelivered after 4 hours".to_owned(),
        "Will keep trying until message is 5 days old".to_owned(),
    ]
    .leak();
    let site = site(&[]);
    golden(
        "delay",
        written(&site, &envelope, late, MESSAGE.as_bytes(), |clerk| {
            clerk.remarks = remarks;
            clerk.waited = "4 hours";
        }),
    );
    envelope.tried_unix = ARRIVED + 5 * 86_400;
    envelope.targets[0].progress = failed("4.4.7", "451 4.7.1 greylisted, come back");
    envelope.by = Some((86_400, ByMode::Notify));
    let remarks: &[String] = vec![
        "Message could not be delivered for 5 days".to_owned(),
        "Message will be deleted from queue".to_owned(),
    ]
    .leak();
    golden(
        "time-out",
        written(&site, &envelope, None, MESSAGE.as_bytes(), |clerk| {
            clerk.remarks = remarks;
            clerk.by_unix = Some(ARRIVED + 86_400);
        }),
    );
}

#[test]
fn receipts() {
    let mut envelope = envelope(
        "joe@b.example",
        vec![
            recipient("ann@test.example", Some(ALL)),
            recipient("bob@far.example", Some(ALL)),
            recipient("list@test.example", Some(ALL)),
            recipient("quiet@test.example", None),
        ],
    );
    envelope.recipients[2].expanded = Expanded::List { told: false };
    envelope.targets = vec![
        QueuedTarget {
            status: "2.0.0".into(),
            ..copy(0, "local", "ann", Progress::Sent)
        },
        QueuedTarget {
            remote: remote("250 2.0.0 ok", Notifies::No),
            status: "2.0.0".into(),
            ..copy(1, "esmtp", "bob@far.example", Progress::Sent)
        },
        copy(2, "local", "ann", Progress::Done),
        copy(3, "local", "quiet", Progress::Done),
    ];
    let all = written(&site(&[]), &envelope, None, MESSAGE.as_bytes(), |_| {});
    golden("receipt", all);
    let private = site(&[("PrivacyOptions", "noreceipts")]);
    assert!(plan(&private, &envelope, None).notices.is_empty());
}

#[test]
fn a_notice_that_failed_goes_to_the_postmaster_and_then_nowhere() {
    let mut envelope = envelope("", vec![recipient("bad@far.example", None)]);
    envelope.relay = "localhost".into();
    envelope.targets = vec![QueuedTarget {
        remote: remote("550 5.1.1 no such user here", Notifies::No),
        ..copy(
            0,
            "esmtp",
            "bad@far.example",
            failed("5.1.1", "550 5.1.1 no such user here"),
        )
    }];
    golden(
        "double",
        written(&site(&[]), &envelope, None, MESSAGE.as_bytes(), |_| {}),
    );
    let nobody = plan(&site(&[("DoubleBounceAddress", "")]), &envelope, None);
    assert_eq!((nobody.notices.len(), nobody.silent.len()), (0, 1));
    envelope.origin = crate::queue::Origin::LastResort;
    let last = plan(&site(&[]), &envelope, None);
    assert_eq!((last.notices.len(), last.silent.len()), (0, 1));
}

#[test]
fn utf8_addresses_and_texts() {
    let mut envelope = envelope(
        "j\u{f6}@b.example",
        vec![recipient("\u{4e2d}\u{6587}@far.example", None)],
    );
    envelope.smtputf8 = true;
    envelope.targets = vec![QueuedTarget {
        remote: remote("550 5.1.1 \u{7121}", Notifies::Yes),
        ..copy(
            0,
            "esmtp",
            "\u{4e2d}\u{6587}@far.example",
            failed("5.1.1", "550 5.1.1 \u{7121}"),
        )
    }];
    let message = "Subject: \u{f6}\r\n\r\nb\u{f6}dy\r\n";
    let notices = written(&site(&[]), &envelope, None, message.as_bytes(), |_| {});
    assert_eq!(
        notices[0].1,
        Written {
            eight_bits: true,
            utf8_header: true
        }
    );
    golden("utf8", notices);
}

#[test]
fn who_hears_of_what() {
    let site = site(&[]);
    let kinds = |envelope: &Envelope, late: Option<Late>| -> Vec<Kind> {
        let plan = plan(&site, envelope, late);
        plan.notices.iter().map(|n| n.kind).collect()
    };
    let late = Some(Late { until_unix: None });
    let notify = |success, failure, delay| {
        Some(Notify {
            success,
            failure,
            delay,
        })
    };
    let with = |sender: &str, notify: Option<Notify>, progress: Progress| Envelope {
        targets: vec![copy(0, "local", "ann", progress)],
        ..envelope(sender, vec![recipient("ann@test.example", notify)])
    };
    let never = notify(false, false, false);
    let cases = [
        ("joe@b", None, failed("5.1.1", "x"), vec![Kind::Failure]),
        ("joe@b", never, failed("5.1.1", "x"), vec![]),
        ("", never, failed("5.1.1", "x"), vec![]),
        ("", None, failed("5.1.1", "x"), vec![Kind::Failure]),
        (
            "joe@b",
            notify(true, false, false),
            failed("5.1.1", "x"),
            vec![],
        ),
        ("joe@b", None, Progress::Waiting, vec![Kind::Delay]),
        (
            "joe@b",
            notify(false, true, false),
            Progress::Waiting,
            vec![],
        ),
        ("", None, Progress::Waiting, vec![]),
        ("owner-list@b", None, Progress::Waiting, vec![]),
        ("list-request@b", None, Progress::Waiting, vec![]),
        ("joe@b", None, Progress::Sent, vec![]),
        ("joe@b", Some(ALL), Progress::Sent, vec![Kind::Receipt]),
        ("joe@b", Some(ALL), Progress::Told, vec![]),
    ];
    for (sender, notify, progress, want) in cases {
        let envelope = with(sender, notify, progress);
        assert_eq!(kinds(&envelope, late), want, "{sender} {notify:?}");
    }
    let bulk = Envelope {
        class: -60,
        ..with("joe@b", None, failed("5.1.1", "x"))
    };
    let notices = plan(&site, &bulk, None).notices;
    assert_eq!(notices[0].returns, Returns::Header);
    let large = Envelope {
        size_octets: 2 * 1024 * 1024,
        ..with("joe@b", None, failed("5.1.1", "x"))
    };
    assert_eq!(
        plan(&site, &large, None).notices[0].returns,
        Returns::Header
    );
    let asked = Envelope {
        ret: Some(Ret::Full),
        ..large
    };
    assert_eq!(plan(&site, &asked, None).notices[0].returns, Returns::Full);
    let addresses: Vec<Octets> = plan(&site, &with("", None, failed("5.1.1", "x")), None).notices
        [0]
    .to
    .clone();
    assert_eq!(addresses, ["postmaster".into()]);
}
