//! Texts that break off on their way to a mailbox or a program.

use std::fs;
use std::path::PathBuf;

use crate::agent::{Agent, frame};
use crate::site::{Site, wait_until};
use crate::stage::mode;

/// Whose mailbox it is.
fn bob() -> u32 {
    match rustix::process::geteuid().as_raw() {
        0 => 54_371,
        own => own,
    }
}

fn site(mc: &str) -> Site {
    let site = Site::new(&format!(
        "define(`LOCAL_MAILER_PATH', `/nonexistent/procmail')dnl\n{mc}"
    ));
    let uid = bob();
    site.write(
        "etc/passwd",
        &format!("bob:x:{uid}:{uid}:Bob:/home/bob:/bin/sh\n"),
    );
    for folder in ["var/mail", "open"] {
        fs::create_dir_all(site.path(folder)).unwrap();
        mode(&site, folder, 0o1777);
    }
    site
}

/// A mailbox of bob's with a message in it.
fn mailbox(site: &Site) -> PathBuf {
    let path = site.path("var/mail/bob");
    fs::write(&path, "From x\n\nold\n\n").unwrap();
    let _ = std::os::unix::fs::chown(&path, Some(bob()), Some(bob()));
    path
}

#[test]
fn half_a_text_from_the_server_leaves_the_mailbox_as_it_was() {
    let site = site("");
    let path = mailbox(&site);
    let agent = Agent::start(&site);
    let args = ["deliver-file", "append", "dotlock", path.to_str().unwrap()];
    let mut work = agent.run("/proc/self/exe", &args, None, bob());
    // In frames of our own file delivery, which is how it knows that this is not all.
    work.feed(&frame(&b"From y\n\nhalf of it\n".repeat(2500)));
    assert!(wait_until(|| fs::metadata(&path).unwrap().len() > 20_000));
    work.end();
    let reply = work.reply();
    assert_eq!(reply["Ended"]["fate"], "Deferred", "{reply}");
    assert_eq!(fs::read_to_string(&path).unwrap(), "From x\n\nold\n\n");
    assert!(!site.path("var/mail/bob.lock").exists());
}
