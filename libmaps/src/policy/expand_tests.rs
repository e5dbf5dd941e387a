use std::collections::HashMap;
use std::io;
use std::path::Path;
use std::time::{Duration, Instant};

use super::include::{Include, Owner, Readers};
use super::trust::{Standing, Writers};
use super::*;
use crate::decision::Traced;
use crate::map::Entry;
use crate::policy::route::canonify::NoNames;
use crate::policy::route::tables::RouteTables;
use crate::site::Site;
use crate::store::memory::MemoryMap;

/// Include files in memory.
#[derive(Default)]
struct Files(HashMap<String, Include>);

impl Includes for Files {
    fn read(&self, path: &Path, _: Option<u32>) -> io::Result<Include> {
        if let Some(number) = path.to_str().unwrap().strip_prefix("/errno/") {
            return Err(io::Error::from_raw_os_error(number.parse().unwrap()));
        }
        let found = self.0.get(path.to_str().unwrap());
        found.cloned().ok_or(io::ErrorKind::NotFound.into())
    }
}

fn files(all: &[(&str, &str)]) -> Files {
    let include = |text: &str| Include {
        text: text.into(),
        standing: Standing::OWN,
        owner: Owner::Site,
        readers: Readers::Everybody,
    };
    Files(
        all.iter()
            .map(|(p, t)| ((*p).to_owned(), include(t)))
            .collect(),
    )
}

fn expand_all(site: &Site, entries: Vec<Entry>, files: &Files, list: &str) -> Expansion {
    let expand = |expander: &Expander<'_, _, _>| expander.expand(list.as_bytes());
    with_expander(site, entries, files, expand)
}

fn with_expander(
    site: &Site,
    entries: Vec<Entry>,
    files: &Files,
    expand: impl FnOnce(&Expander<'_, MemoryMap, MemoryMap>) -> Result<Expansion, LookupError>,
) -> Expansion {
    try_with_expander(site, entries, files, expand).unwrap()
}

fn try_with_expander(
    site: &Site,
    entries: Vec<Entry>,
    files: &Files,
    expand: impl FnOnce(&Expander<'_, MemoryMap, MemoryMap>) -> Result<Expansion, LookupError>,
) -> Result<Expansion, LookupError> {
    let tables: RouteTables<MemoryMap> = RouteTables::default();
    let aliases = AliasTable::new([Traced::new(MemoryMap::new("aliases", entries))]);
    let users = Users::parse(
        b"root:x:0:0::/:/bin/sh\njoe:x:1:1:Joe Public,Room 3:/:/bin/sh\nsue:x:2:2:& Zed:/:/usr/sbin/nologin\none:x:3:3:Single:/:/bin/sh\n",
    );
    let expander = Expander {
        addressing: Addressing {
            site,
            tables: &tables,
            names: &NoNames,
            daemon_flags: "",
        },
        aliases: &aliases,
        users: &users,
        includes: files,
    };
    expand(&expander)
}

#[test]
fn a_list_that_nobody_can_open_just_now_lets_its_mail_wait() {
    let site = crate::policy::route::tests::site();
    for (number, waits) in [
        (libc::EMFILE, true),
        (libc::ENFILE, true),
        (libc::EIO, true),
        (libc::EAGAIN, true),
        (libc::ENOENT, false),
        (libc::EACCES, false),
    ] {
        let path = format!(":include:/errno/{number}");
        let entries = vec![Entry::new("list", path.as_str())];
        let expanded = try_with_expander(&site, entries, &Files::default(), |expander| {
            expander.expand(b"list")
        });
        assert_eq!(expanded.is_err(), waits, "{number}");
    }
}

fn expand(aliases: &[(&str, &str)], files: &Files, list: &str) -> (Vec<String>, Vec<String>) {
    let entries = aliases.iter().map(|(l, r)| Entry::new(*l, *r)).collect();
    let site = crate::policy::route::tests::site();
    let expansion = expand_all(&site, entries, files, list);
    let text = |octets: &[u8]| String::from_utf8_lossy(octets).into_owned();
    let mut deliver: Vec<String> = expansion
        .deliver()
        .into_iter()
        .map(|t| format!("{}|{}|{}", t.mailer, text(&t.host), text(&t.user)))
        .collect();
    deliver.sort();
    let mut rest = expansion.unknown();
    rest.extend(expansion.errors());
    (deliver, rest)
}

fn delivered(aliases: &[(&str, &str)], list: &str) -> Vec<String> {
    let (deliver, rest) = expand(aliases, &Files::default(), list);
    assert_eq!(rest, Vec::<String>::new(), "{list}");
    deliver
}

#[test]
fn targets_of_every_kind() {
    let aliases = [(
        "all",
        "joe, x@far.example, \"|/bin/x y\", /var/mail/arch, \\root, root+day",
    )];
    assert_eq!(
        delivered(&aliases, "ALL@example.org"),
        [
            "*file*||/var/mail/arch",
            "esmtp|far.example|x@far.example",
            "local|day|root",
            "local||\\root",
            "local||joe",
            "prog||\"|/bin/x y\"",
        ]
    );
}

#[test]
fn a_detail_is_tried_with_a_star_and_then_without() {
    let aliases = [("ops+*", "joe"), ("staff", "root")];
    assert_eq!(delivered(&aliases, "ops+night"), ["local||joe"]);
    assert_eq!(delivered(&aliases, "staff+x"), ["local||root"]);
    assert_eq!(delivered(&aliases, "joe+x"), ["local|x|joe"]);
}

#[test]
fn a_user_who_is_in_his_own_alias_gets_the_mail() {
    let aliases = [("joe", "joe, x@far.example"), ("a", "b"), ("b", "joe")];
    let both = ["esmtp|far.example|x@far.example", "local||joe"];
    assert_eq!(delivered(&aliases, "joe"), both);
    assert_eq!(delivered(&aliases, "a"), both);
}

#[test]
fn loops_of_names_deliver_to_nobody() {
    let aliases = [("a", "b"), ("b", "a"), ("me", "me, joe")];
    let (deliver, rest) = expand(&aliases, &Files::default(), "a");
    assert!(deliver.is_empty());
    assert_eq!(rest, ["a... aliasing/forwarding loop broken"]);
    let (deliver, rest) = expand(&aliases, &Files::default(), "me");
    assert_eq!(
        (deliver, rest),
        (vec!["local||joe".into()], vec!["me".into()])
    );
}

#[test]
fn what_is_typed_reaches_no_program_file_or_list() {
    for (address, what) in [
        ("|/bin/x", "programs"),
        ("/etc/x", "files"),
        (":include:/list", ":include:s"),
    ] {
        let (deliver, rest) = expand(&[], &Files::default(), address);
        assert!(deliver.is_empty());
        assert_eq!(
            rest,
            [format!("{address}... Cannot mail directly to {what}")]
        );
    }
}

#[test]
fn members_of_lists_know_their_line() {
    let files = files(&[("/list", "# who\njoe, nobody\n")]);
    let (deliver, rest) = expand(&[("l", ":include:/list")], &files, "l");
    assert_eq!(deliver, ["local||joe"]);
    assert_eq!(rest, ["/list: line 2: nobody"]);
    let (_, rest) = expand(&[("l", ":include:/none")], &files, "l");
    assert_eq!(rest.len(), 1);
    assert!(rest[0].starts_with(":include:/none... Cannot open /none: "));
}

#[test]
fn lists_that_strangers_write_start_no_programs() {
    let mut files = files(&[("/list", "|/bin/x\njoe\n")]);
    files.0.get_mut("/list").unwrap().standing.folders = Writers::Group;
    let mut site = crate::policy::route::tests::site();
    let expand = |site: &Site| {
        let entries = vec![Entry::new("l", ":include:/list")];
        let expansion = expand_all(site, entries, &files, "l");
        (expansion.deliver().len(), expansion.errors())
    };
    let (deliver, errors) = expand(&site);
    let why = "Cannot open /list: Group writable directory";
    assert_eq!(
        (deliver, errors),
        (0, vec![format!(":include:/list... {why}")])
    );
    site.options.files.dont_blame.0 = vec!["IncludeFileInGroupWritableDirPath".into()];
    let (deliver, errors) = expand(&site);
    let why = "Address :include:/list is unsafe for mailing to programs";
    assert_eq!(
        (deliver, errors),
        (1, vec![format!("/list: line 1: |/bin/x... {why}")])
    );
}

#[test]
fn of_a_users_list_that_is_not_his_alone_the_addresses_count() {
    let site = crate::policy::route::tests::site();
    let joe = Users::parse(b"joe:x:1:1::/:/bin/sh\n")
        .get("joe")
        .unwrap()
        .unwrap();
    let list = b"# mine\n  # too\nroot,\n\"|/bin/x\"";
    let expand = |e: &Expander<'_, _, _>| e.expand_for(&joe, "/f", list, Trust::Addresses);
    let expansion = with_expander(&site, Vec::new(), &Files::default(), expand);
    assert_eq!(expansion.deliver().len(), 1);
    let why = "Address joe is unsafe for mailing to programs";
    assert_eq!(
        expansion.errors(),
        [format!("/f: line 4: \"|/bin/x\"... {why}")]
    );
}

/// The programs of an expansion, each with the user as whom it runs.
fn programs(expansion: &Expansion) -> Vec<(&[u8], Option<&str>)> {
    let all = expansion.recipients.iter();
    all.filter(|r| r.state == State::Deliver && r.triple.mailer == "prog")
        .map(|r| (r.triple.user.as_slice(), r.controller.as_deref()))
        .collect()
}

#[test]
fn programs_in_a_users_list_are_his() {
    let mut files = files(&[("/joe", "|/bin/x\n"), ("/root", "|/bin/x\n:include:/joe\n")]);
    files.0.get_mut("/joe").unwrap().owner = Owner::User(1);
    let site = crate::policy::route::tests::site();
    let entries = || vec![Entry::new("l", ":include:/root, |/bin/x")];
    let expansion = expand_all(&site, entries(), &files, "l");
    let mut found = programs(&expansion);
    found.sort();
    assert_eq!(found, [(&b"|/bin/x"[..], None), (b"|/bin/x", Some("joe"))]);
    // No such user.
    files.0.get_mut("/joe").unwrap().owner = Owner::User(77);
    let expansion = expand_all(&site, entries(), &files, "l");
    assert_eq!(programs(&expansion), [(&b"|/bin/x"[..], None)]);
    assert_eq!(
        expansion.errors(),
        ["/joe: line 1: |/bin/x... UID 77 is an unknown user: cannot mail to programs"]
    );
}

#[test]
fn who_has_no_shell_names_neither_programs_nor_files() {
    let mut files = files(&[("/own", "|/bin/x, /box\nroot\n"), ("/site", "|/bin/y\n")]);
    files.0.get_mut("/own").unwrap().owner = Owner::User(2);
    let site = crate::policy::route::tests::site();
    let host = &site.host_name;
    let entries = || {
        vec![
            Entry::new("program", "|/bin/z"),
            Entry::new("list", ":include:/own"),
        ]
    };
    let refused = |what: &str| {
        format!("... User sue@{host} doesn't have a valid shell for mailing to {what}")
    };
    let in_own = [
        format!("/own: line 1: /box{}", refused("files")),
        format!("/own: line 1: |/bin/x{}", refused("programs")),
    ];
    // A list of hers that an alias names.
    let expansion = expand_all(&site, entries(), &files, "list");
    let mut errors = expansion.errors();
    errors.sort();
    assert_eq!(errors, in_own);
    assert_eq!(expansion.deliver().len(), 1);
    // Her `.forward`.
    let users = Users::parse(b"sue:x:2:2::/:/usr/sbin/nologin\n");
    let sue = users.get("sue").unwrap().unwrap();
    let list = |text: &str| {
        let expand = |expander: &Expander<'_, _, _>| {
            expander.expand_for(&sue, "/f", text.as_bytes(), Trust::Whole)
        };
        with_expander(&site, entries(), &files, expand)
    };
    let expansion = list("\\sue, \"|/bin/x\", /box");
    let mut errors = expansion.errors();
    errors.sort();
    assert_eq!(
        errors,
        [
            format!("/f: line 1: \"|/bin/x\"{}", refused("programs")),
            format!("/f: line 1: /box{}", refused("files")),
        ]
    );
    assert_eq!(expansion.deliver().len(), 1);
    let mut errors = list(":include:/own").errors();
    errors.sort();
    assert_eq!(errors, in_own);
    // What the site's own aliases and lists run would run as her.
    let ran = |text: &str| programs(&list(text)).len();
    assert_eq!((ran("program"), ran(":include:/site")), (0, 0));
}

#[test]
fn a_users_list_includes_only_what_he_may_read() {
    let mut files = files(&[("/joe", ":include:/in\n"), ("/in", "|/bin/x\nsecret\n")]);
    files.0.get_mut("/joe").unwrap().owner = Owner::User(1);
    let site = crate::policy::route::tests::site();
    for (owner, readers, want) in [
        (Owner::Site, Readers::Everybody, true),
        (Owner::Site, Readers::Some, false),
        (Owner::User(1), Readers::Some, true),
        (Owner::User(2), Readers::Everybody, false),
    ] {
        let file = files.0.get_mut("/in").unwrap();
        (file.owner, file.readers) = (owner, readers);
        let entries = vec![Entry::new("l", ":include:/joe")];
        let expansion = expand_all(&site, entries, &files, "l");
        match want {
            true => assert_eq!(programs(&expansion), [(&b"|/bin/x"[..], Some("joe"))]),
            false => {
                assert!(expansion.deliver().is_empty());
                assert!(expansion.unknown().is_empty());
                let errors = expansion.errors();
                assert!(
                    errors[0].contains("Cannot open /in: Not a file of"),
                    "{errors:?}"
                );
            }
        }
    }
}

#[test]
fn a_users_own_list_names_programs_files_and_includes() {
    let files = files(&[("/list", "|/bin/y\n")]);
    let site = crate::policy::route::tests::site();
    let joe = Users::parse(b"joe:x:1:1::/:/bin/sh\n")
        .get("joe")
        .unwrap()
        .unwrap();
    let list = b"\\joe, \"|/bin/x a b\", /box, :include:/list";
    let expand =
        |expander: &Expander<'_, _, _>| expander.expand_for(&joe, "/f", list, Trust::Whole);
    let expansion = with_expander(&site, Vec::new(), &files, expand);
    assert!(expansion.errors().is_empty(), "{:?}", expansion.errors());
    let all = expansion
        .recipients
        .iter()
        .filter(|r| r.state == State::Deliver);
    let all: Vec<_> = all
        .map(|r| (r.triple.mailer.as_str(), r.controller.as_deref()))
        .collect();
    let joe = Some("joe");
    assert_eq!(
        all,
        [
            ("local", joe),
            ("prog", joe),
            ("*file*", joe),
            ("prog", joe)
        ]
    );
}

#[test]
fn a_list_that_includes_itself_ends() {
    let files = files(&[("/list", ":include:/list\njoe\n")]);
    let (deliver, _) = expand(&[("l", ":include:/list")], &files, "l");
    assert_eq!(deliver, ["local||joe"]);
}

#[test]
fn a_chain_ends_at_the_limit() {
    let entries: Vec<Entry> = (0..1_000)
        .map(|n| Entry::new(format!("a{n}").as_str(), format!("a{}", n + 1).as_str()))
        .collect();
    let site = crate::policy::route::tests::site();
    let expansion = expand_all(&site, entries, &Files::default(), "a0");
    let errors = expansion.errors();
    assert!(
        errors[0].contains("loop broken (11 aliases deep; 10 max)"),
        "{errors:?}"
    );
    assert!(expansion.recipients.len() < 20);
}

#[test]
fn a_hundred_thousand_members_take_little_time() {
    let mut text = String::new();
    for n in 0..100_000 {
        text.push_str(&format!("user{n}@far.example\n"));
    }
    let files = files(&[("/list", &text)]);
    let start = Instant::now();
    let (deliver, rest) = expand(&[("l", ":include:/list")], &files, "l");
    assert_eq!((deliver.len(), rest.len()), (100_000, 0));
    assert!(start.elapsed() < Duration::from_secs(60));
}

proptest::proptest! {
    #![proptest_config(proptest::prelude::ProptestConfig::with_cases(64))]
    /// Whatever names stand for, an expansion ends, and soon.
    #[test]
    fn any_aliases_expand_in_bounded_time(
        lines in proptest::collection::vec(("[a-e]", "([a-ej]|joe|[a-e]\\+x|\\\\[a-e]|:include:/l|, ){1,12}"), 0..12),
        list in "([a-e]\n|:include:/l\n|joe,a\n){0,6}",
    ) {
        let entries: Vec<Entry> = lines.iter().map(|(l, r)| Entry::new(l.as_str(), r.as_str())).collect();
        let site = crate::policy::route::tests::site();
        let files = files(&[("/l", &list)]);
        let expansion = expand_all(&site, entries, &files, "a, b, c");
        proptest::prop_assert!(expansion.recipients.len() <= MAX_RECIPIENTS);
    }
}

/// As sendmail 8.17 answers to `-bv`.
#[test]
fn full_names_lead_to_users_where_the_site_has_it() {
    let mut site = crate::policy::route::tests::site();
    site.options.addresses.blank_sub = ".".to_owned();
    let entries = || {
        vec![
            Entry::new("sue", "joe"),
            Entry::new("staff", "joe.public, root"),
        ]
    };
    let found = |site: &Site, name: &str| {
        let expansion = expand_all(site, entries(), &files(&[]), name);
        let users = expansion.deliver().into_iter().map(|triple| {
            let (host, user) = (&triple.host, &triple.user);
            String::from_utf8([&user[..], &host[..]].join(&b' '))
                .unwrap()
                .trim()
                .to_owned()
        });
        users.collect::<Vec<_>>()
    };
    let none: &[&str] = &[];
    assert_eq!(found(&site, "joe.public"), none);
    site.options.addresses.match_gecos = true;
    for (name, want) in [
        ("joe.public", &["joe"][..]),
        ("JOE_Public", &["joe"]),
        ("joe.public+x", &["joe x"]),
        ("sue.zed", &["joe"]),
        ("staff", &["joe", "root"]),
        ("joepublic", none),
        ("single", none),
        ("one", &["one"]),
        ("room.3", none),
        ("nobody.here", none),
    ] {
        assert_eq!(found(&site, name), want, "{name}");
    }
    site.relays.luser = Some("relay:[192.0.2.9]".to_owned());
    assert_eq!(found(&site, "joe.public"), ["joe"]);
    assert_eq!(
        found(&site, "nobody.here"),
        ["nobody.here@[192.0.2.9] [192.0.2.9]"]
    );
}

/// The reason that each refused recipient of `list` is given, and its triple's status and text.
fn refusals(luser: &str, aliases: &[(&str, &str)], list: &str) -> Vec<[String; 3]> {
    let mut site = crate::policy::route::tests::site();
    site.features.redirect = true;
    site.classes.pseudo_domains.insert(b"REDIRECT");
    site.relays.luser = Some(luser.to_owned());
    let entries = aliases.iter().map(|(l, r)| Entry::new(*l, *r)).collect();
    let text = |octets: &[u8]| String::from_utf8_lossy(octets).into_owned();
    let expanded = expand_all(&site, entries, &Files::default(), list);
    let refused = expanded.recipients.into_iter().filter_map(|recipient| {
        let State::Refused(why) = recipient.state else {
            return None;
        };
        Some([
            why,
            text(&recipient.triple.host),
            text(&recipient.triple.user),
        ])
    });
    refused.collect()
}

#[test]
fn a_refusal_keeps_its_status_and_loses_its_quotes() {
    for (luser, want) in [
        (
            "error:4.2.1:\"450 directory being rebuilt, try later\"",
            [
                "directory being rebuilt, try later",
                "4.2.1",
                "450 directory being rebuilt, try later",
            ],
        ),
        (
            "error:5.1.1:550 no such user",
            ["no such user", "5.1.1", "550 no such user"],
        ),
        (
            "error:nouser \"550 no such\"",
            ["nouser 550 no such", "", "nouser 550 no such"],
        ),
    ] {
        assert_eq!(refusals(luser, &[], "nosuch"), [want], "{luser}");
    }
    let moved = [("old.user", "new.user@else.example.REDIRECT")];
    let [why, status, _] = &refusals("local:joe", &moved, "old.user")[0];
    assert_eq!(why, "User has moved; please try <new.user@else.example>");
    assert_eq!(status, "5.1.1");
}
