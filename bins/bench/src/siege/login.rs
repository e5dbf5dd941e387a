//! Guessing passwords: whether time tells which users there are.

use std::fs;
use std::io;
use std::path::Path;
use std::time::{Duration, Instant};

use libmaps::sasl::edit::{AuthPassword, NewAccount, SaslDbEdit};
use libmaps::sasl::key::UserId;
use libmaps::sasl::password::Password;
use libmaps::sasl::secret::{Recipe, Salts, Secrets};

use super::{Besieged, Outcome, Siege};

/// Known users, and as many unknown ones: so many that none is slowed down for his failures.
const USERS: u32 = 12;
/// By how much medians may differ, in hundredths.
const TOLERANCE: u64 = 5;

/// Tries a wrong password so often for known users and as often for unknown ones, in turn.
/// What each try costs the server's processors is compared, and the time to the reply.
///
/// # Errors
/// The server can't be started, or breaks off.
pub fn login_times(siege: &Siege) -> io::Result<Outcome> {
    let mc = "define(`confAUTH_MECHANISMS', `PLAIN')dnl\n";
    let besieged = Besieged::start(siege, mc, |root| accounts(root).map_err(io::Error::other))?;
    let mut outcome = Outcome::default();
    let (mut known, mut unknown) = (Times::default(), Times::default());
    let mut talk = None;
    for turn in 0..siege.size * 2 {
        let number = turn / 2 % USERS;
        // Which comes first changes, too.
        let (name, times) = match (turn + turn / 2) % 2 {
            0 => (format!("known{number:02}"), &mut known),
            _ => (format!("nobody{number}"), &mut unknown),
        };
        let mut open = match talk.take() {
            Some(open) => open,
            None => {
                let mut fresh = besieged.connect()?;
                fresh.exchange("", "220")?;
                fresh.exchange("EHLO guess.example", "250")?;
                fresh
            }
        };
        let response = base64(format!("\0{name}\0wrong password").as_bytes());
        let (cpu, start) = (cpu_nanos(besieged.server.pid())?, Instant::now());
        let reply = open.say(&format!("AUTH PLAIN {response}"))?;
        times.wall.push(start.elapsed());
        times
            .cpu
            .push(cpu_nanos(besieged.server.pid())?.saturating_sub(cpu));
        outcome.lose_unless(reply == "535 5.7.0 authentication failed", || {
            format!("{name} was answered {reply:?}")
        });
        // The third failure would end the session.
        if turn % 2 == 0 {
            talk = Some(open);
        } else {
            open.exchange("QUIT", "221")?;
        }
    }
    outcome
        .counts
        .push(("logins tried", u64::from(siege.size) * 2));
    let (of_known, of_unknown) = (median(&mut known.cpu), median(&mut unknown.cpu));
    let differ = of_known.abs_diff(of_unknown) * 100 / of_known.max(of_unknown).max(1);
    outcome.measures.push((
        "processor time of a wrong password, known and unknown user",
        format!("{} and {} us", of_known / 1000, of_unknown / 1000),
    ));
    outcome.lose_unless(differ < TOLERANCE, || {
        format!("known users cost {of_known} ns, unknown ones {of_unknown} ns")
    });
    let (of_known, of_unknown) = (median(&mut known.wall), median(&mut unknown.wall));
    outcome.measures.push((
        "median time to the reply, known and unknown user",
        format!("{:.2} and {:.2} ms", millis(of_known), millis(of_unknown)),
    ));
    let (least, most) = (of_known.min(of_unknown), of_known.max(of_unknown));
    outcome.lose_unless((most - least) * 20 < most, || {
        format!("known users are answered after {of_known:?}, unknown ones after {of_unknown:?}")
    });
    Ok(outcome)
}

/// What each try took.
#[derive(Default)]
struct Times {
    cpu: Vec<u64>,
    wall: Vec<Duration>,
}

fn median<T: Ord + Copy + Default>(values: &mut [T]) -> T {
    values.sort_unstable();
    values.get(values.len() / 2).copied().unwrap_or_default()
}

fn millis(time: Duration) -> f64 {
    time.as_secs_f64() * 1000.0
}

/// Processor time of all threads of a process (proc(5), schedstat).
fn cpu_nanos(pid: u32) -> io::Result<u64> {
    let mut sum = 0;
    for task in fs::read_dir(format!("/proc/{pid}/task"))? {
        // One that has ended meanwhile did nothing for us.
        let stat = fs::read_to_string(task?.path().join("schedstat")).unwrap_or_default();
        let on_cpu = stat
            .split(' ')
            .next()
            .and_then(|word| word.parse::<u64>().ok());
        sum += on_cpu.unwrap_or(0);
    }
    Ok(sum)
}

fn accounts(root: &Path) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
    let mut edit = SaslDbEdit::begin(&root.join("etc/sasldb2"), "bench")?;
    for number in 0..USERS {
        let user = UserId::new(format!("known{number:02}").as_bytes(), b"mx.fire.example")?;
        let password = Password::new(format!("right{number}").into_bytes())?;
        let salts = Salts::random()?;
        let secrets = Secrets::derive(&user, &password, &Recipe::default(), &salts)?;
        edit.set(&NewAccount { user, secrets }, AuthPassword::Omit)?;
    }
    edit.publish()?;
    Ok(())
}

/// RFC 4648, section 4.
fn base64(octets: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut out = String::new();
    for group in octets.chunks(3) {
        let number = (0..3).fold(0usize, |number, at| {
            number << 8 | usize::from(group.get(at).copied().unwrap_or(0))
        });
        for digit in 0..4 {
            let six = number >> (18 - 6 * digit) & 63;
            match DIGITS.get(six) {
                Some(octet) if digit <= group.len() => out.push(char::from(*octet)),
                _ => out.push('='),
            }
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn base64_with_its_padding() {
        for (text, want) in [("", ""), ("f", "Zg=="), ("fo", "Zm8="), ("foo", "Zm9v")] {
            assert_eq!(base64(text.as_bytes()), want);
        }
    }

    #[test]
    fn our_own_threads_have_used_time() {
        assert!(cpu_nanos(std::process::id()).unwrap() > 0);
    }
}
