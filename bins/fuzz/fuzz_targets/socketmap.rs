//! Any octets as requests of a socketmap client, in any pieces, and as a server's reply.
//!
//! `cargo fuzz run socketmap`
#![no_main]

use std::sync::{Arc, LazyLock};

use libfuzzer_sys::fuzz_target;
use libmaps::site::Site;
use libmaps::store::socketmap::netstring::{self, FRAME_OCTETS};
use libmaps::store::socketmap::{Address, MAX_NAME_OCTETS, Reply, Request};
use tools::serve::site_maps::{Logins, SiteMaps};
use tools::serve::{Service, Turn};

static MAPS: LazyLock<SiteMaps> = LazyLock::new(|| {
    let site = Arc::new(Site::default());
    SiteMaps::of(&site, &[], Logins::Kept, 100_000, |_| ()).expect("no maps")
});

/// All that is said to octets that come in pieces of this size.
fn said(octets: &[u8], size: usize) -> Vec<u8> {
    let mut talk = MAPS.begin();
    let (mut out, mut held) = (Vec::new(), Vec::new());
    for piece in octets.chunks(size) {
        held.extend_from_slice(piece);
        loop {
            match talk.turn(&held, &mut out) {
                Turn::More => break,
                Turn::Closed => return out,
                Turn::Answered { used } => {
                    assert!(used > 0 && used <= held.len());
                    held.drain(..used);
                }
            }
        }
        assert!(held.len() <= MAX_NAME_OCTETS + 1 + 100_000 + FRAME_OCTETS);
    }
    out
}

fuzz_target!(|input: (u8, &[u8])| {
    let (size, octets) = input;
    assert_eq!(
        said(octets, usize::from(size).max(1)),
        said(octets, octets.len().max(1))
    );
    if let Ok(Some((carried, used))) = netstring::split(octets, 1000) {
        let mut again = Vec::new();
        netstring::append(&mut again, carried);
        assert_eq!(again, octets[..used]);
        if let Some(request) = Request::parse(carried) {
            let mut again = Vec::new();
            request.append(&mut again);
            assert_eq!(again, octets[..used]);
        }
        if let Some(Reply::Temp(why) | Reply::Perm(why) | Reply::Timeout(why)) =
            Reply::parse(carried)
        {
            assert!(!why.contains(char::is_control));
        }
    }
    if let Ok(text) = std::str::from_utf8(octets)
        && let Ok(address) = Address::parse(text, Some("map"))
    {
        let again = Address::parse(&address.to_string(), None);
        assert_eq!(again.as_ref(), Ok(&address));
    }
});
