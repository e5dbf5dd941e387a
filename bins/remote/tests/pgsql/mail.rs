//! The server on shared maps: it starts on a new host, sees changes, and outlives the engine and
//! its own follower.

use std::fs;

use crate::server::{Server, wait_for};
use crate::stage::running::{Running, child_of};
use crate::stage::{Host, until};

const MC: &str = "\
OSTYPE(`linux')dnl
define(`confDOMAIN_NAME', `mail.example.test')dnl
define(`ALIAS_FILE', `pgsql:/etc/mail/aliases')dnl
FEATURE(`no_default_msa')dnl
FEATURE(`accept_unresolvable_domains')dnl
FEATURE(`access_db', `pgsql -T<TMPF> /etc/mail/access')dnl
DAEMON_OPTIONS(`Name=MTA, Addr=127.0.0.1, Port=0')dnl
MAILER(`local')dnl
MAILER(`smtp')dnl
";

fn site(server: &Server, database: &str) -> Host {
    let host = Host::with_site(MC);
    for name in ["access", "aliases"] {
        host.write(
            &format!("etc/mail/{name}.pgsql"),
            &server.connection(database),
        );
    }
    host
}

#[test]
fn a_server_follows_and_outlives_the_engine_and_its_follower() {
    let Some(server) = Server::own() else { return };
    server.database("mail");
    let writer = server.host("mail", &["access", "aliases"]);
    let host = site(&server, "mail");

    // Nobody has built the maps yet: a server that guesses would lose mail.
    let root = host.path("").display().to_string();
    let ran = host.run(&format!("smtpd --root {root}"), "");
    assert_ne!(ran.code, 0);
    assert!(ran.err.contains("it has no generation yet"), "{}", ran.err);

    writer.good("makemap pgsql access", "From:spam.example REJECT\n");
    writer.write("aliases", "sales: nobody@elsewhere.example\n");
    let aliases = writer.path("aliases").display().to_string();
    writer.good(&format!("newaliases -OAliasFile=pgsql:{aliases}"), "");

    // A new host fetches what it lacks before it listens.
    let smtpd = Running::start(&host);
    let here = "sales@mail.example.test";
    assert!(
        smtpd.rcpt("a@spam.example", here).starts_with("550"),
        "access"
    );
    assert!(
        smtpd.rcpt("a@good.example", here).starts_with("250"),
        "aliases"
    );
    assert!(
        smtpd
            .rcpt("a@good.example", "info@mail.example.test")
            .starts_with("550")
    );

    // A change of another host counts from the next session on.
    writer.good("editmap -u pgsql access from:good.example REJECT", "");
    smtpd.wait("generation=2 entries=2 lag=");
    assert!(smtpd.rcpt("a@good.example", here).starts_with("550"));

    // The engine is gone: the maps are frozen, and mail goes on.
    server.kill();
    smtpd.wait("kept as it was: ");
    for _ in 0..20 {
        assert!(smtpd.rcpt("a@fine.example", here).starts_with("250"));
        assert!(smtpd.rcpt("a@spam.example", here).starts_with("550"));
    }

    // The follower is gone too: it is started again, and nobody noticed.
    let old = smtpd.follower().unwrap();
    let killed = std::process::Command::new("kill")
        .args(["-9", &old.to_string()])
        .status();
    assert!(killed.unwrap().success());
    assert!(smtpd.rcpt("a@fine.example", here).starts_with("250"));
    smtpd.wait("started again");
    server.start();
    wait_for(&server);
    writer.good("editmap -x pgsql access from:good.example", "");
    until("the change", || {
        smtpd.rcpt("a@good.example", here).starts_with("250")
    });

    // It ends with its server, however that ends.
    let new = smtpd.follower().unwrap();
    let supervisor = child_of(smtpd.process.0.id()).unwrap();
    assert_ne!(new, old);
    drop(smtpd);
    for process in [new, supervisor] {
        until("the follower's end", || {
            !fs::exists(format!("/proc/{process}")).unwrap()
        });
    }
}

#[test]
fn a_server_that_reads_its_configuration_anew_follows_what_it_names_now() {
    let Some(server) = Server::shared() else {
        return;
    };
    server.database("anew");
    let writer = server.host("anew", &["access", "aliases", "mailertable", "own"]);
    writer.good("makemap pgsql access", "From:spam.example REJECT\n");
    writer.write("aliases", "sales: nobody@elsewhere.example\n");
    let aliases = writer.path("aliases").display().to_string();
    writer.good(&format!("newaliases -OAliasFile=pgsql:{aliases}"), "");
    writer.good(
        "makemap pgsql mailertable",
        "one.example smtp:[127.0.0.1]\n",
    );
    writer.good("makemap pgsql own", "key value\n");
    let host = site(&server, "anew");
    let smtpd = Running::start(&host);
    smtpd.wait("ready");

    // Two more shared maps, one of them of a K line: what starts no program any more sends for
    // them, and takes the configuration when they are there.
    for name in ["mailertable", "own"] {
        let connection = server.connection("anew");
        host.write(&format!("etc/mail/{name}.pgsql"), &connection);
    }
    let more = "FEATURE(`mailertable', `pgsql /etc/mail/mailertable')dnl\nLOCAL_CONFIG\nKown pgsql /etc/mail/own\n";
    let (head, mailers) = MC.split_once("MAILER(`local')").unwrap();
    let (feature, config) = more.split_once("LOCAL_CONFIG").unwrap();
    host.write(
        "etc/mail/sendmail.mc",
        &format!("{head}{feature}MAILER(`local'){mailers}LOCAL_CONFIG{config}"),
    );
    smtpd.hang_up();
    smtpd.wait("configuration read anew");
    for name in ["mailertable", "own"] {
        assert!(host.replica(&format!("etc/mail/{name}.pgsql")).is_some());
    }
    for map in ["access", "mailertable", "own"] {
        writer.good(&format!("editmap -u pgsql {map} new.example OK"), "");
        smtpd.wait(&format!("{map}.pgsql: generation=2"));
    }

    // A connection file that is wrong now: the map stays, and the others are followed.
    host.write("etc/mail/own.pgsql", "what\n");
    smtpd.hang_up();
    smtpd.wait("own.pgsql kept as it was: ");
    writer.good("editmap -u pgsql access newer.example OK", "");
    smtpd.wait("access.pgsql: generation=3");
}
