//! Answers to challenges: the recorded ones, computed anew for today's nonces.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, KeyInit, Mac};
use md5::{Digest, Md5};
use sha1::Sha1;
use sha2::Sha256;

/// The passwords of the recorded accounts. An answer that fits none of them was wrong, and
/// stays as it is.
const PASSWORDS: [&str; 5] = ["secret", "hunter2", "UPPER", "pencil", "odd"];

/// What the answers depend on.
#[derive(Default)]
pub(super) struct Answers {
    mechanism: String,
    client_first: Vec<u8>,
    /// The challenge as it was recorded, and as it is now.
    challenge: Option<(Vec<u8>, Vec<u8>)>,
}

impl Answers {
    /// Takes note of a reply, recorded and said.
    pub(super) fn challenge(&mut self, recorded: &str, said: &str) {
        let octets = |reply: &str| STANDARD.decode(reply.strip_prefix("334 ")?).ok();
        self.challenge = octets(recorded).zip(octets(said));
    }

    /// The line to send for a recorded one.
    pub(super) fn answer(&mut self, line: &str) -> Vec<u8> {
        let line = uncut(line);
        let mut words = line.split_ascii_whitespace();
        if words.next().is_some_and(|w| w.eq_ignore_ascii_case("auth")) {
            self.mechanism = words.next().unwrap_or_default().to_ascii_uppercase();
            let first = words.next().and_then(|w| STANDARD.decode(w).ok());
            self.client_first = first.unwrap_or_default();
            return line.into_bytes();
        }
        let Some((recorded, said)) = self.challenge.take() else {
            return line.into_bytes();
        };
        let Ok(response) = STANDARD.decode(&line) else {
            return line.into_bytes();
        };
        if self.mechanism.starts_with("SCRAM") && !recorded.starts_with(b"r=") {
            if recorded.is_empty() {
                self.client_first = response;
            }
            return line.into_bytes();
        }
        let text = |octets: &[u8]| String::from_utf8_lossy(octets).into_owned();
        let (recorded, said, response) = (text(&recorded), text(&said), text(&response));
        let first = text(&self.client_first);
        let anew = match self.mechanism.as_str() {
            "CRAM-MD5" => cram(&recorded, &said, &response),
            "DIGEST-MD5" => digest(&recorded, &said, &response),
            "SCRAM-SHA-256" => scram::<Sha256>(&first, &recorded, &said, &response),
            "SCRAM-SHA-1" => scram::<Sha1>(&first, &recorded, &said, &response),
            _ => None,
        };
        match anew {
            Some(anew) => STANDARD.encode(anew).into_bytes(),
            None => line.into_bytes(),
        }
    }
}

/// The recording cuts long lines and says how long they were: `...(1351 bytes)`. They were a
/// PLAIN message with a long user name.
fn uncut(line: &str) -> String {
    let Some((start, size)) = line.split_once('\u{2026}') else {
        return line.to_owned();
    };
    let digits: String = size.chars().filter(char::is_ascii_digit).collect();
    let command = start
        .strip_prefix("AUTH PLAIN ")
        .map_or("", |_| "AUTH PLAIN ");
    let octets = (digits.parse::<usize>().unwrap() - command.len()) / 4 * 3;
    let name = "u".repeat(octets - 4);
    format!("{command}{}", STANDARD.encode(format!("\0{name}\0x")))
}

fn hex(octets: &[u8]) -> String {
    octets.iter().map(|o| format!("{o:02x}")).collect()
}

fn hmac_md5(key: &str, text: &str) -> String {
    let mut mac = Hmac::<Md5>::new_from_slice(key.as_bytes()).unwrap();
    mac.update(text.as_bytes());
    hex(&mac.finalize().into_bytes())
}

/// RFC 2195: user, blank, keyed digest of the challenge.
fn cram(recorded: &str, said: &str, response: &str) -> Option<String> {
    let (user, digest) = response.rsplit_once(' ')?;
    let fits = |p: &&&str| hmac_md5(p, recorded).eq_ignore_ascii_case(digest);
    let password = PASSWORDS.iter().find(fits)?;
    let mut anew = hmac_md5(password, said);
    if digest.bytes().any(|c| c.is_ascii_uppercase()) {
        anew = anew.to_uppercase();
    }
    Some(format!("{user} {anew}"))
}

fn md5(octets: &[u8]) -> Vec<u8> {
    Md5::digest(octets).to_vec()
}

/// The value of a directive, without its quotes.
fn directive<'a>(text: &'a str, key: &str) -> Option<&'a str> {
    let found = text.split(',').find_map(|part| {
        let (name, value) = part.split_once('=')?;
        (name.trim() == key).then_some(value)
    });
    found.map(|value| value.trim_matches('"'))
}

/// RFC 2831 section 2.1.2.1.
fn digest_response(text: &str, nonce: &str, password: &str) -> String {
    let get = |key| directive(text, key).unwrap_or_default();
    let (user, realm) = (get("username"), get("realm"));
    let mut a1 = md5(format!("{user}:{realm}:{password}").as_bytes());
    a1.extend(format!(":{nonce}:{}", get("cnonce")).into_bytes());
    if let Some(authzid) = directive(text, "authzid") {
        a1.extend(format!(":{authzid}").into_bytes());
    }
    let qop = directive(text, "qop").unwrap_or("auth");
    let mut a2 = format!("AUTHENTICATE:{}", get("digest-uri"));
    if qop != "auth" {
        a2.push_str(&format!(":{}", "0".repeat(32)));
    }
    let (a1, a2) = (hex(&md5(&a1)), hex(&md5(a2.as_bytes())));
    let all = format!("{a1}:{nonce}:{}:{}:{qop}:{a2}", get("nc"), get("cnonce"));
    hex(&md5(all.as_bytes()))
}

fn digest(recorded: &str, said: &str, response: &str) -> Option<String> {
    let (old, new) = (directive(recorded, "nonce")?, directive(said, "nonce")?);
    let sent = directive(response, "response")?;
    let fits = |p: &&&str| digest_response(response, old, p) == sent;
    let anew = response.replace(old, new);
    match PASSWORDS.iter().find(fits) {
        Some(password) => Some(anew.replace(sent, &digest_response(&anew, new, password))),
        None => Some(anew),
    }
}

/// RFC 5802 section 3.
fn scram<D>(first: &str, recorded: &str, said: &str, response: &str) -> Option<String>
where
    D: Digest + hmac::EagerHash,
    Hmac<D>: Mac + KeyInit,
{
    let nonce = |text: &str| directive_of(text, 'r').map(str::to_owned);
    let (old, new) = (nonce(recorded)?, nonce(said)?);
    let (without_proof, proof) = response.rsplit_once(",p=")?;
    let bare = first.splitn(3, ',').nth(2)?;
    let make = |server_first: &str, without_proof: &str, password: &str| {
        let salt = STANDARD.decode(directive_of(server_first, 's')?).ok()?;
        let rounds: u32 = directive_of(server_first, 'i')?.parse().ok()?;
        let message = format!("{bare},{server_first},{without_proof}");
        Some(STANDARD.encode(scram_proof::<D>(password, &salt, rounds, &message)))
    };
    let password = PASSWORDS
        .iter()
        .find(|p| make(recorded, without_proof, p).as_deref() == Some(proof));
    let anew = without_proof.replace(&old, &new);
    let proof = match password {
        Some(password) => make(said, &anew, password)?,
        None => proof.to_owned(),
    };
    Some(format!("{anew},p={proof}"))
}

fn directive_of(text: &str, key: char) -> Option<&str> {
    text.split(',')
        .find_map(|part| part.strip_prefix(key)?.strip_prefix('='))
}

fn keyed<D>(key: &[u8], parts: &[&[u8]]) -> Vec<u8>
where
    D: Digest + hmac::EagerHash,
    Hmac<D>: Mac + KeyInit,
{
    let mut mac = <Hmac<D> as KeyInit>::new_from_slice(key).unwrap();
    parts.iter().for_each(|part| mac.update(part));
    mac.finalize().into_bytes().to_vec()
}

fn xor(a: &mut [u8], b: &[u8]) {
    a.iter_mut().zip(b).for_each(|(a, b)| *a ^= b);
}

fn scram_proof<D>(password: &str, salt: &[u8], rounds: u32, message: &str) -> Vec<u8>
where
    D: Digest + hmac::EagerHash,
    Hmac<D>: Mac + KeyInit,
{
    let mut round = keyed::<D>(password.as_bytes(), &[salt, &[0, 0, 0, 1]]);
    let mut salted = round.clone();
    for _ in 1..rounds {
        round = keyed::<D>(password.as_bytes(), &[&round]);
        xor(&mut salted, &round);
    }
    let mut proof = keyed::<D>(&salted, &[b"Client Key"]);
    let stored = D::digest(&proof).to_vec();
    xor(&mut proof, &keyed::<D>(&stored, &[message.as_bytes()]));
    proof
}
