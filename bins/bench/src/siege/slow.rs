//! Clients that take their time, and handshakes that come to nothing.

use std::fs;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::{Duration, Instant};

use super::talk::Talk;
use super::{Besieged, Outcome, Siege};

/// Time between two octets of a slow client.
const OCTET_EVERY: Duration = Duration::from_secs(10);
/// Memory of a slow session, in KiB.
const SESSION_KIB: u64 = 64;

/// Slow clients send an octet every ten seconds, for so many rounds: a third each before
/// any command, within one, and within a message. One that is turned away comes again.
///
/// # Errors
/// The server can't be started, or this program may not open so many connections.
pub fn slow_senders(siege: &Siege, rounds: u32, mc: &str) -> io::Result<Outcome> {
    let besieged = Besieged::start(siege, mc, |_| Ok(()))?;
    let mut outcome = Outcome::default();
    besieged.honest(&mut outcome);
    let before = besieged.memory_kib("VmRSS:")?;
    let mut slow: Vec<Option<Talk>> = Vec::new();
    let mut turned_away = 0;
    let mut longest = Duration::ZERO;
    for number in 0..siege.size {
        slow.push(begin(&besieged, number));
    }
    for round in 0..=rounds {
        let start = Instant::now();
        besieged.honest(&mut outcome);
        longest = longest.max(start.elapsed());
        if round == rounds {
            break;
        }
        std::thread::sleep(OCTET_EVERY.saturating_sub(start.elapsed()));
        for (number, place) in (0..).zip(&mut slow) {
            let alive = match place {
                Some(talk) => !talk.is_gone() && talk.send(b"x").is_ok(),
                None => false,
            };
            if !alive {
                turned_away += 1;
                *place = begin(&besieged, number);
            }
        }
    }
    let open = slow.iter().flatten().count() as u64;
    let with = besieged.memory_kib("VmHWM:")?;
    drop(slow);
    besieged.honest(&mut outcome);
    let each = with.saturating_sub(before) / u64::from(siege.size).max(1);
    outcome.counts.push(("slow clients", u64::from(siege.size)));
    outcome.counts.push(("connected at the end", open));
    outcome.counts.push(("turned away", turned_away));
    outcome
        .measures
        .push(("memory of a slow client", format!("{each} KiB")));
    outcome.measures.push((
        "longest honest session meanwhile",
        format!("{:.1} s", longest.as_secs_f64()),
    ));
    outcome.lose_unless(each <= SESSION_KIB, || {
        format!("a slow client costs {each} KiB")
    });
    Ok(outcome)
}

/// A client that has begun; it waits for no reply that the server may be slow with.
fn begin(besieged: &Besieged, number: u32) -> Option<Talk> {
    let mut talk = besieged.connect().ok()?;
    let began = match number % 3 {
        0 => Ok(()),
        1 => talk.send(b"MAIL FROM:<a"),
        _ => talk.send(b"MAIL FROM:<a@b.example>\r\nRCPT TO:<archive>\r\nDATA\r\n"),
    };
    began.ok().map(|()| talk)
}

/// Clients begin TLS and stall, or say what is no TLS; they take more places than there are.
///
/// # Errors
/// The server can't be started.
pub fn handshakes(siege: &Siege) -> io::Result<Outcome> {
    let places = siege.size * 3 / 4;
    let mc = format!(
        "define(`confSERVER_CERT', `/etc/mail/server.crt')dnl
define(`confSERVER_KEY', `/etc/mail/server.key')dnl
define(`confMAX_DAEMON_CHILDREN', `{places}')dnl
"
    );
    let besieged = Besieged::start(siege, &mc, certify)?;
    let mut outcome = Outcome::default();
    besieged.honest(&mut outcome);
    let (mut stalled, mut garbage) = (Vec::new(), 0);
    for number in 0..siege.size {
        let mut talk = besieged.connect()?;
        if number >= places {
            // There is no place left: it waits to be greeted.
            stalled.push(talk);
            continue;
        }
        talk.exchange("", "220")?;
        talk.exchange("EHLO flood.example", "250")?;
        talk.exchange("STARTTLS", "220")?;
        if number % 4 == 3 {
            talk.send(b"\x16\x03\x01\xff\xff this is no ClientHello at all\r\n")?;
            garbage += 1;
        }
        stalled.push(talk);
    }
    besieged.honest(&mut outcome);
    drop(stalled);
    besieged.honest(&mut outcome);
    outcome.counts.push(("handshakes begun", u64::from(places)));
    outcome.counts.push(("of them garbage", garbage));
    Ok(outcome)
}

/// Makes the server a certificate.
fn certify(root: &Path) -> io::Result<()> {
    let made = rcgen::generate_simple_self_signed(vec!["mx.fire.example".to_owned()]);
    let made = made.map_err(io::Error::other)?;
    let key = root.join("etc/mail/server.key");
    fs::write(&key, made.signing_key.serialize_pem())?;
    fs::set_permissions(&key, fs::Permissions::from_mode(0o600))?;
    fs::write(root.join("etc/mail/server.crt"), made.cert.pem())
}
