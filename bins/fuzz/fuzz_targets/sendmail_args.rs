//! The command line of sendmail: words separated by NUL, whatever they are.
#![no_main]

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStringExt;

use libfuzzer_sys::fuzz_target;
use smtpd::sendmail::args::CommandLine;

fuzz_target!(|data: &[u8]| {
    let words = data.split(|octet| *octet == 0);
    let words = words.map(|word| OsString::from_vec(word.to_vec()));
    if let Ok(line) = CommandLine::parse(OsStr::new("sendmail"), words) {
        // What names a file of the caller's is never done with rights that are not his.
        assert!(line.root.is_none() && line.config.is_none() || line.needs_own_rights());
    }
});
