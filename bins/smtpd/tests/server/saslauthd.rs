//! A saslauthd that always says the same.

use std::io::{Read, Write};
use std::os::unix::net::UnixListener;
use std::sync::mpsc::{Receiver, channel};

use crate::site::Site;

/// Serves where the site's Sendmail.conf looks by default; what was asked comes out of the
/// receiver: user, password, service, realm.
pub(crate) fn serve(site: &Site, answer: &'static [u8]) -> Receiver<Vec<String>> {
    let path = site.path("var/run/saslauthd/mux");
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    let _ = std::fs::remove_file(&path);
    let listener = UnixListener::bind(path).unwrap();
    let (sender, asked) = channel();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let fields = (0..4).map(|_| {
                let mut length = [0; 2];
                stream.read_exact(&mut length).ok()?;
                let mut field = vec![0; usize::from(u16::from_be_bytes(length))];
                stream.read_exact(&mut field).ok()?;
                Some(String::from_utf8_lossy(&field).into_owned())
            });
            let Some(fields) = fields.collect::<Option<Vec<_>>>() else {
                continue;
            };
            let _ = sender.send(fields);
            let _ = stream.write_all(answer);
        }
    });
    asked
}
