//! Lists and homes on a file system that does not answer: they hold up nobody else.

use std::ffi::CString;
use std::fs::File;
use std::os::fd::AsRawFd;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use crate::agent::{Agent, frame};
use crate::client::Client;
use crate::site::{Site, wait_until};
use crate::stage::{aliases, mode, send};

/// More lists than there are threads, by far.
const LISTS: usize = 20;
/// As many programs as the agent runs at one time.
const PROGRAMS: usize = 64;

/// A file system whose server never says a word: whoever looks into it hangs until he is
/// killed, or until this is dropped.
struct Silent {
    at: CString,
    server: Option<File>,
}

impl Silent {
    /// `None`, with a word about it, where that can't be had.
    #[allow(unsafe_code)] // mount(2) has no safe form in std.
    fn mount(folder: &Path) -> Option<Self> {
        let mut device = File::options();
        let server = match device.read(true).write(true).open("/dev/fuse") {
            Ok(server) => server,
            Err(error) => {
                eprintln!("skipped: /dev/fuse: {error}");
                return None;
            }
        };
        let at = CString::new(folder.as_os_str().as_bytes()).unwrap();
        let options = format!(
            "fd={},rootmode=40000,user_id=0,group_id=0,allow_other",
            server.as_raw_fd()
        );
        let options = CString::new(options).unwrap();
        // SAFETY: all strings end in NUL and outlive the call.
        let mounted = unsafe {
            libc::mount(
                c"silent".as_ptr(),
                at.as_ptr(),
                c"fuse".as_ptr(),
                libc::MS_NOSUID | libc::MS_NODEV,
                options.as_ptr().cast(),
            )
        };
        if mounted != 0 {
            let error = std::io::Error::last_os_error();
            eprintln!("skipped: a file system can't be mounted: {error}");
            return None;
        }
        Some(Silent {
            at,
            server: Some(server),
        })
    }
}

impl Drop for Silent {
    #[allow(unsafe_code)]
    fn drop(&mut self) {
        // Whoever hangs there hears of its end.
        self.server = None;
        // SAFETY: the string ends in NUL.
        unsafe { libc::umount2(self.at.as_ptr(), libc::MNT_DETACH) };
    }
}

/// An ordinary user.
fn somebody() -> u32 {
    match rustix::process::geteuid().as_raw() {
        0 => 54_351,
        own => own,
    }
}

/// A site with a mailbox for bob.
fn site() -> Site {
    let site = Site::new("define(`LOCAL_MAILER_PATH', `/nonexistent/procmail')dnl");
    let uid = somebody();
    site.write(
        "etc/passwd",
        &format!("bob:x:{uid}:{uid}:Bob:/home/bob:/bin/sh\n"),
    );
    for folder in ["var/mail", "home/bob", "srv/silent", "open"] {
        std::fs::create_dir_all(site.path(folder)).unwrap();
    }
    for folder in ["var/mail", "open"] {
        mode(&site, folder, 0o1777);
    }
    site
}

#[test]
fn homes_that_hang_hold_up_no_mailbox() {
    let site = site();
    let agent = Agent::start(&site);
    let folder = site.path("srv/silent");
    let Some(silent) = Silent::mount(&folder) else {
        return;
    };
    let mut hanging = Vec::new();
    for _ in 0..PROGRAMS {
        let mut work = agent.run("/bin/sh", &["-c", "exit 0"], Some(&folder), somebody());
        work.feed(b"");
        hanging.push(work);
    }
    let mailbox = site.path("var/mail/bob");
    let args = [
        "deliver-file",
        "append",
        "dotlock",
        mailbox.to_str().unwrap(),
    ];
    let mut work = agent.run("/proc/self/exe", &args, None, somebody());
    work.feed(&[frame(b"hello\n"), frame(b"")].concat());
    work.feed(b"");
    assert_eq!(work.reply()["Ended"]["fate"], "Sent");
    // And they end by themselves.
    for mut work in hanging {
        let reply = work.reply();
        assert_eq!(reply["Ended"]["fate"], "Deferred", "{reply}");
        let text = reply["Ended"]["text"].as_str().unwrap();
        assert!(text.ends_with("it does not answer"), "{text}");
    }
    drop(silent);
}

#[test]
fn a_program_runs_in_its_folder_or_where_there_is_none_in_the_root() {
    let site = site();
    let agent = Agent::start(&site);
    for (folder, want) in [("open", site.path("open")), ("gone", "/".into())] {
        let args = ["-c", "pwd >&2; exit 69"];
        let mut work = agent.run("/bin/sh", &args, Some(&site.path(folder)), somebody());
        work.feed(b"");
        let want = want.canonicalize().unwrap();
        let want = format!("Service unavailable: {}", want.display());
        assert_eq!(work.reply()["Ended"]["text"], want);
    }
}

#[test]
fn what_the_server_has_given_up_is_not_done_later() {
    let site = site();
    let agent = Agent::start(&site);
    let run = |script: &str| agent.run("/bin/sh", &["-c", script], None, somebody());
    let ran = site.path("open/ran");
    // Each holds its place until its text ends.
    let begun = site.path("open/begun");
    let begin = format!("echo >> {}; cat > /dev/null", begun.display());
    let mut running: Vec<_> = (0..PROGRAMS).map(|_| run(&begin)).collect();
    assert!(wait_until(|| {
        std::fs::read(&begun).is_ok_and(|text| text.len() == PROGRAMS)
    }));
    let mut late = run(&format!("echo ran > {}", ran.display()));
    late.feed(b"");
    drop(late);
    for work in &mut running {
        work.feed(b"");
        assert_eq!(work.reply()["Ended"]["fate"], "Sent");
    }
    // It ends when all is done.
    drop(agent);
    assert!(!ran.exists());
}

#[test]
fn lists_that_hang_hold_up_nobody_else() {
    let site = site();
    let lists: Vec<String> = (0..LISTS)
        .map(|n| format!("list{n}: :include:/srv/silent/{n}\n"))
        .collect();
    aliases(&site, &lists.concat());
    let folder: PathBuf = site.path("srv/silent");
    let Some(silent) = Silent::mount(&folder) else {
        return;
    };
    let server = site.start();
    let mut asking = Vec::new();
    for n in 0..LISTS {
        send(&server, &format!("list{n}"));
        // EXPN opens them within a session.
        let (mut client, _) = Client::hello(server.only_port());
        client.send(format!("EXPN list{n}\r\n").as_bytes());
        asking.push(client);
    }
    // All of these hang by now, or will, and others don't notice.
    for _ in 0..3 {
        send(&server, "bob");
        site.text_with("var/mail/bob", "Subject: to bob");
        std::fs::remove_file(site.path("var/mail/bob")).unwrap();
    }
    drop(silent);
    drop(server);
}
