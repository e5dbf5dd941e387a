//! Lists on a file system that does not answer: they hold up nobody else.

use std::ffi::CString;
use std::fs::File;
use std::os::fd::AsRawFd;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use crate::client::Client;
use crate::site::Site;
use crate::stage::{aliases, mode, send};

/// More lists than there are threads, by far.
const LISTS: usize = 20;

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

#[test]
fn lists_that_hang_hold_up_nobody_else() {
    let site = Site::new("define(`LOCAL_MAILER_PATH', `/nonexistent/procmail')dnl");
    let uid = match rustix::process::geteuid().as_raw() {
        0 => 54_351,
        own => own,
    };
    site.write(
        "etc/passwd",
        &format!("bob:x:{uid}:{uid}:Bob:/home/bob:/bin/sh\n"),
    );
    for folder in ["var/mail", "home/bob", "srv/silent"] {
        std::fs::create_dir_all(site.path(folder)).unwrap();
    }
    mode(&site, "var/mail", 0o1777);
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
