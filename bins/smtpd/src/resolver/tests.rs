//! Services that can and can't tell, families and aliases.

use super::*;

#[test]
fn a_family_that_nobody_can_tell_about() {
    let v4 = || Ok(vec![RData::A("192.0.2.1".parse().unwrap())]);
    let v6 = || Ok(vec![RData::AAAA("2001:db8::1".parse().unwrap())]);
    let none = || Ok(Vec::new());
    let text = |found: Result<Vec<IpAddr>, Unknown>| {
        found.map(|all| all.iter().map(IpAddr::to_string).collect::<Vec<_>>())
    };
    for (v4, v6, want) in [
        (v4(), v6(), Ok(vec!["192.0.2.1", "2001:db8::1"])),
        (v4(), Err(Unknown), Ok(vec!["192.0.2.1"])),
        (Err(Unknown), v6(), Ok(vec!["2001:db8::1"])),
        (none(), Err(Unknown), Err(Unknown)),
        (Err(Unknown), none(), Err(Unknown)),
        (Err(Unknown), Err(Unknown), Err(Unknown)),
        (none(), none(), Ok(vec![])),
    ] {
        let want = want.map(|all: Vec<&str>| all.iter().map(|a| (*a).to_owned()).collect());
        assert_eq!(text(of_both_families(v4, v6)), want);
    }
}

#[test]
fn aliases_lead_to_another_name_unless_they_are_kept() {
    use hickory_resolver::proto::rr::rdata::{A, CNAME};
    let name = |text: &str| Name::from_ascii(text).unwrap();
    let cname = |text: &str| RData::CNAME(CNAME(name(text)));
    let records = [
        cname("one.example."),
        cname("two.example."),
        RData::A(A::new(192, 0, 2, 1)),
    ];
    let asked = name("www.example.");
    let of = |aliases| canonical_of(&asked, &records, aliases);
    assert_eq!(of(Aliases::Followed), "two.example");
    assert_eq!(of(Aliases::Kept), "www.example");
    let host = canonical_of(&asked, &records[2..], Aliases::Followed);
    assert_eq!(host, "www.example");
}

/// A site whose name server refuses all questions.
fn without_dns(switch: &str, hosts: &str) -> Resolver {
    with_mc(switch, hosts, "")
}

/// Such a site, with more in its sendmail.mc.
fn with_mc(switch: &str, hosts: &str, more: &str) -> Resolver {
    let root = tempfile::tempdir().unwrap();
    let etc = root.path().join("etc");
    std::fs::create_dir_all(etc.join("mail")).unwrap();
    let closed = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
    let port = closed.local_addr().unwrap().port();
    drop(closed);
    let conf = format!("nameserver [127.0.0.1]:{port}\noptions timeout:30 attempts:2\n");
    std::fs::write(etc.join("resolv.conf"), conf).unwrap();
    std::fs::write(etc.join("hosts"), hosts).unwrap();
    std::fs::write(etc.join("mail/service.switch"), switch).unwrap();
    let mc = format!(
        "define(`confDOMAIN_NAME', `mx.test.example')dnl\n\
         define(`confTO_RESOLVER_RETRANS', `30s')dnl\n{more}"
    );
    std::fs::write(etc.join("mail/sendmail.mc"), mc).unwrap();
    let site = libmaps::site::load::load(Some(root.path()), None).unwrap();
    Resolver::of(&site.site).unwrap()
}

#[test]
fn the_site_says_whether_aliases_are_followed() {
    let of = |more: &str| with_mc("", "", more).aliases;
    assert_eq!(of(""), Aliases::Followed);
    let kept = "define(`confDONT_EXPAND_CNAMES', `True')dnl\n";
    assert_eq!(of(kept), Aliases::Kept);
}

#[tokio::test]
async fn what_dns_can_t_tell_the_next_service_may() {
    let (known, unknown) = ("192.0.2.1".parse().unwrap(), "192.0.2.2".parse().unwrap());
    for (switch, tells) in [
        ("", true),
        ("hosts files dns\n", true),
        ("hosts dns\n", false),
    ] {
        let resolver = without_dns(switch, "192.0.2.1 mx.test.example mx\n");
        let peer = resolver.peer(known, 25).await;
        let found = (
            resolver.canonical(&Asker::Ours, b"mx.test.example").await,
            resolver.addresses_from("mx.test.example").await,
            (peer.name.as_str(), peer.resolve),
        );
        let want = match tells {
            true => (
                Ok(vec![b"mx.test.example"[..].into()]),
                Ok((vec![known], Service::Files)),
                ("mx.test.example", Resolve::Ok),
            ),
            false => (Err(Unknown), Err(Unknown), ("[192.0.2.1]", Resolve::Temp)),
        };
        assert_eq!(found, want, "{switch}");
        // What none of them knows may be known to the one that can't tell.
        let found = (
            resolver.canonical(&Asker::Ours, b"b.example").await,
            resolver.addresses_from("b.example").await,
            resolver.peer(unknown, 25).await.resolve,
        );
        let want = (Err(Unknown), Err(Unknown), Resolve::Temp);
        assert_eq!(found, want, "{switch}");
    }
}

#[tokio::test]
async fn a_name_server_that_refuses_is_not_waited_for() {
    let resolver = without_dns("hosts dns\n", "");
    let asked = async {
        let peer = resolver.peer("127.0.0.7".parse().unwrap(), 25).await;
        (peer.resolve, resolver.exchangers("b.example").await)
    };
    // Each of these would wait for half a minute and more.
    let asked = tokio::time::timeout(Duration::from_secs(20), asked).await;
    assert_eq!(asked.unwrap(), (Resolve::Temp, Err(Unknown)));
}
