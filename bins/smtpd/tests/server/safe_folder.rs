//! SafeFileEnvironment: where files of aliases are written, and where they are not.

use std::fs;
use std::os::unix::fs::symlink;

use crate::agent::Agent;
use crate::client::Client;
use crate::site::{Site, wait_until};
use crate::stage::{aliases, mode, send_by as send};

fn site() -> Site {
    let site = Site::new("define(`confSAFE_FILE_ENV', `/safe')dnl");
    for folder in ["safe", "safe/in", "away"] {
        fs::create_dir(site.path(folder)).unwrap();
        mode(&site, folder, 0o777);
    }
    symlink(site.path("away"), site.path("safe/link")).unwrap();
    site
}

#[test]
fn files_are_written_below_it_and_no_link_leads_out() {
    let site = site();
    aliases(
        &site,
        "in: /safe/in/box\nout: /safe/link/box\ndir: /in/Maildir/\n",
    );
    let server = site.start();
    let (mut client, _) = Client::hello(server.only_port());
    for to in ["in", "out", "dir"] {
        send(&mut client, to);
    }
    site.text_with("safe/in/box", "Subject: to in");
    let new = site.path("safe/in/Maildir/new");
    let has_come = || fs::read_dir(&new).is_ok_and(|mut new| new.next().is_some());
    assert!(wait_until(has_come), "{:#?}", server.log());
    server.log_with("dsn=5.3.0, stat=Can't create output: ");
    assert_eq!(fs::read_dir(site.path("away")).unwrap().count(), 0);
}

#[test]
fn the_agent_writes_nowhere_else() {
    let site = site();
    let agent = Agent::start(&site);
    let (file, away) = (site.path("away/box"), site.path("away"));
    let (file, away) = (file.to_str().unwrap(), away.to_str().unwrap());
    for args in [
        &["deliver-file", "append", "fcntl", file][..],
        &["deliver-file", "below", away, "append", "fcntl", file],
        &["deliver-file", "maildir", "mx", file],
    ] {
        let reply = agent
            .run(env!("CARGO_BIN_EXE_smtpd"), args, None, 8)
            .reply();
        let said = reply["Refused"].as_str().unwrap_or_default();
        assert!(said.contains("SafeFileEnvironment"), "{reply}");
    }
}
