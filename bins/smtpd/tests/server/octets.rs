//! Names of files, lists and programs that are not UTF-8, as old alias files have them.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::PathBuf;

use crate::site::{Site, wait_until};
use crate::stage::{mode, send};

#[test]
fn mail_goes_where_the_octets_of_a_name_say() {
    let site = Site::new("define(`LOCAL_MAILER_PATH', `/nonexistent/procmail')dnl");
    fs::create_dir_all(site.path("open")).unwrap();
    mode(&site, "open", 0o1777);
    let open = site.path("open").into_os_string().into_vec();
    let path = |name: &[u8]| PathBuf::from(OsStr::from_bytes(&[&open, &b"/"[..], name].concat()));
    let aliases = [
        &b"archive: /etc/mail/out.mbox\nfile: /open/b\xf6x\nfolder: /open/m\xf6il/\nlist: :include:/open/l\xf6st\n\
           program: \"|cat > "[..],
        &open,
        b"/c\xf6py\"\n",
    ];
    fs::write(site.path("etc/mail/aliases"), aliases.concat()).unwrap();
    smtpd::tables::build_aliases(&site.path("etc/mail/aliases")).unwrap();
    fs::write(path(b"l\xf6st"), "archive\n").unwrap();
    let server = site.start();
    for to in ["file", "folder", "list", "program"] {
        send(&server, to);
    }
    let has = |path: &PathBuf, to: &str| {
        let text = fs::read(path).unwrap_or_default();
        String::from_utf8_lossy(&text).contains(&format!("Subject: to {to}"))
    };
    let found = wait_until(|| {
        let new = fs::read_dir(path(b"m\xf6il/new"));
        let new = new.map_or(0, Iterator::count);
        has(&path(b"b\xf6x"), "file")
            && has(&path(b"c\xf6py"), "program")
            && has(&site.path("etc/mail/out.mbox"), "list")
            && new == 1
    });
    let names = fs::read_dir(site.path("open")).unwrap();
    let mut names: Vec<_> = names.map(|entry| entry.unwrap().file_name()).collect();
    names.sort();
    assert!(found, "{names:?} {:#?}", server.log());
    assert_eq!(names.len(), 4, "{names:?}");
}
