//! `-bd`: the server in the background.

use std::fs;
use std::process::Command;
use std::time::Duration;

use crate::site::Site;

/// Ends the server of this number, whatever happens.
struct Ended(String);

impl Drop for Ended {
    fn drop(&mut self) {
        let _ = Command::new("kill").args(["-9", &self.0]).status();
    }
}

#[test]
fn it_is_ready_when_the_call_returns() {
    let site = Site::new();
    let mc = site.root().join("etc/mail/sendmail.mc");
    let text = fs::read_to_string(&mc).unwrap();
    fs::create_dir_all(site.root().join("run")).unwrap();
    fs::write(
        &mc,
        format!("define(`confPID_FILE', `/run/pid')dnl\n{text}"),
    )
    .unwrap();
    let out = site.sendmail_as_owner(&["-bd", "-q30m"]);
    let pid = site.read("run/pid");
    let _ended = Ended(pid.lines().next().unwrap_or("0").to_owned());
    assert_eq!(
        out.status.code(),
        Some(0),
        "{}",
        String::from_utf8_lossy(&out.stdout)
    );
    assert!(pid.contains("smtpd --log syslog --root "), "{pid}");
    assert!(pid.ends_with(" -q 30m\n"), "{pid}");
    site.sendmail(&["box"], b"Subject: x\n\nbody\n");
    site.until("the message", |s| s.read("open/box").contains("body"));
    // A second one finds the queue taken.
    let out = site.sendmail_as_owner(&["-bd"]);
    assert_eq!(out.status.code(), Some(75));
    std::thread::sleep(Duration::from_millis(1));
}

#[test]
fn a_faulty_site_is_told_of() {
    let site = Site::new();
    let mc = site.root().join("etc/mail/sendmail.mc");
    fs::write(&mc, "FEATURE(`ldap_routing')dnl\n").unwrap();
    let out = site.sendmail_as_owner(&["-bd"]);
    assert_eq!(out.status.code(), Some(78));
    let said = String::from_utf8_lossy(&out.stdout).into_owned();
    assert!(said.contains("sendmail.mc:1: error: "), "{said}");
    assert!(said.contains("its log (syslog, facility mail)"), "{said}");
}

#[test]
fn a_link_named_smtpd_is_not_taken_for_the_server() {
    let site = Site::new();
    let bin = site.root().join("bin");
    fs::remove_file(bin.join("smtpd")).unwrap();
    std::os::unix::fs::symlink("sendmail", bin.join("smtpd")).unwrap();
    site.sendmail(&["box"], b"Subject: x\n\nbody\n");
    // The server of this machine, if it has one, would be taken, or else nothing.
    for args in [["-q"], ["-bd"], ["-bD"]] {
        let out = site.sendmail_as_owner(&args);
        let said = String::from_utf8([out.stdout, out.stderr].concat()).unwrap();
        assert!(!said.contains("illegal option"), "{args:?}: {said}");
        assert!(!said.contains("status: 64"), "{args:?}: {said}");
        if !std::path::Path::new("/usr/sbin/smtpd").exists() {
            assert_eq!(out.status.code(), Some(71), "{args:?}: {said}");
            assert!(said.contains("/usr/sbin/smtpd: No such file"), "{said}");
        }
    }
}
