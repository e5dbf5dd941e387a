//! The mechanisms `shadow` and `getpwent`: the system's own hashes.
//!
//! The hash is made by the system's crypt(3), so each of its schemes serves,
//! yescrypt too. Words and order of the answers are the original's. Where there
//! is no entry a hash is made all the same, so that the time tells nothing.

use std::time::{SystemTime, UNIX_EPOCH};

use zeroize::Zeroizing;

use super::PasswordChecker;
use super::accounts::{Accounts, Shadow};
use crate::answer::Answer;
use crate::ffi::crypt::Crypt;
use crate::frame::Request;

/// What a stranger's password is hashed with: a yescrypt setting as Debian makes them.
const DUMMY_SETTING: &[u8] = b"$y$j9T$F5Jx5fExrKuPp53xLKQ..1$";

/// `getpwent`: the hash in the passwd entry.
#[derive(Debug)]
pub struct Getpwent {
    /// Where entries come from.
    pub accounts: Accounts,
    /// The system's crypt(3).
    pub crypt: Crypt,
}

impl PasswordChecker for Getpwent {
    fn check(&mut self, request: &Request) -> Answer {
        match self.accounts.passwd(&request.login) {
            Err(_) => Answer::refused("Name service error"),
            Ok(None) => {
                self.crypt.spend(&request.password, DUMMY_SETTING);
                Answer::refused("Invalid username")
            }
            Ok(Some(hash)) if matches(&mut self.crypt, &request.password, &hash) => Answer::ok(),
            Ok(Some(_)) => Answer::refused("Incorrect password"),
        }
    }
}

/// `shadow`: the hash in the shadow entry, and its dates.
#[derive(Debug)]
pub struct ShadowChecker {
    /// Where entries come from.
    pub accounts: Accounts,
    /// The system's crypt(3).
    pub crypt: Crypt,
}

impl PasswordChecker for ShadowChecker {
    fn check(&mut self, request: &Request) -> Answer {
        let found = match self.accounts.passwd(&request.login) {
            Err(_) => return Answer::refused("Name service error"),
            Ok(None) => Err("Invalid username"),
            Ok(Some(_)) => match self.accounts.shadow(&request.login) {
                Err(_) => return Answer::refused("Name service error"),
                Ok(None) => Err("Invalid shadow username"),
                Ok(Some(entry)) => Ok(entry),
            },
        };
        match found {
            Err(why) => {
                self.crypt.spend(&request.password, DUMMY_SETTING);
                Answer::refused(why)
            }
            Ok(entry) if matches(&mut self.crypt, &request.password, &entry.hash) => {
                let expired = today().and_then(|today| expired(&entry, today));
                expired.map_or(Answer::ok(), Answer::refused)
            }
            Ok(_) => Answer::refused("Incorrect password"),
        }
    }
}

fn matches(crypt: &mut Crypt, password: &Zeroizing<Vec<u8>>, hash: &[u8]) -> bool {
    // An empty field lets nobody in, nor does `*`, `!` or `x`: crypt(3) knows no such setting.
    if hash.first().is_none_or(|b| matches!(b, b'*' | b'!')) {
        crypt.spend(password, DUMMY_SETTING);
        return false;
    }
    crypt.verify(password, hash)
}

/// Why a right password doesn't serve any more, if so.
fn expired(entry: &Shadow, today: i64) -> Option<&'static str> {
    if entry.expires.is_some_and(|last| today > last) {
        return Some("Account expired");
    }
    let last = entry.last_change?.saturating_add(entry.max_days?);
    (today > last).then_some("Password expired")
}

/// Days since 1970-01-01, by UTC as shadow(5) counts them.
fn today() -> Option<i64> {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).ok()?;
    i64::try_from(since.as_secs() / 86_400).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    // The password is `secret`.
    const HASH: &str = "$6$saltsalt$TVLlQcbpFVof5W3Yz4DTP6gRstiNuHwwTt6GLc1E5n0U0aDehy0S5knV8wiOQSpT0Y77vwPZN.Pq.H91p5hVO1";

    fn request(login: &str, password: &str) -> Request {
        Request {
            login: login.into(),
            password: Zeroizing::new(password.into()),
            service: b"smtp".to_vec(),
            realm: Vec::new(),
        }
    }

    #[test]
    fn answers_in_the_original_s_order() {
        let today = today().unwrap();
        let root = tempfile::tempdir().unwrap();
        let etc = root.path().join("etc");
        fs::create_dir(&etc).unwrap();
        let rows = [
            ("plain", HASH, "19000:0:99999:7:::".to_owned(), "OK"),
            ("bare", HASH, "::::::".to_owned(), "OK"),
            ("last", HASH, format!("{}:0:10:7:::", today - 10), "OK"),
            (
                "over",
                HASH,
                format!("{}:0:10:7:::", today - 11),
                "NO Password expired",
            ),
            ("lastday", HASH, format!("19000:0:99999:7::{today}:"), "OK"),
            (
                "gone",
                HASH,
                format!("10000:0:1:7::{}:", today - 1),
                "NO Account expired",
            ),
            (
                "locked",
                "!",
                "19000::::::".to_owned(),
                "NO Incorrect password",
            ),
            (
                "empty",
                "",
                "19000::::::".to_owned(),
                "NO Incorrect password",
            ),
            (
                "token",
                "*0",
                "19000::::::".to_owned(),
                "NO Incorrect password",
            ),
        ];
        let (mut passwd, mut shadow) = (String::new(), String::new());
        for (login, hash, dates, _) in &rows {
            passwd.push_str(&format!("{login}:x:7:7::/:/bin/false\n"));
            shadow.push_str(&format!("{login}:{hash}:{dates}\n"));
        }
        passwd.push_str(&format!("noshadow:{HASH}:7:7::/:/bin/false\n"));
        fs::write(etc.join("passwd"), passwd).unwrap();
        fs::write(etc.join("shadow"), shadow).unwrap();

        let crypt = Crypt::load().unwrap();
        let accounts = Accounts::Root(root.path().to_owned());
        let mut checker = ShadowChecker {
            accounts: accounts.clone(),
            crypt,
        };
        let mut ask = |login: &str, password: &str| {
            let answer = checker.check(&request(login, password));
            String::from_utf8(answer.text().to_vec()).unwrap()
        };
        for (login, _, _, want) in &rows {
            assert_eq!(ask(login, "secret"), *want, "{login}");
            assert_eq!(ask(login, "Secret"), "NO Incorrect password", "{login}");
        }
        assert_eq!(ask("noshadow", "secret"), "NO Invalid shadow username");
        assert_eq!(ask("mallory", "secret"), "NO Invalid username");

        let mut getpwent = Getpwent {
            accounts,
            crypt: Crypt::load().unwrap(),
        };
        let mut ask = |login: &str| getpwent.check(&request(login, "secret"));
        assert_eq!(ask("noshadow"), Answer::ok());
        assert_eq!(ask("plain"), Answer::refused("Incorrect password"));
        assert_eq!(ask("mallory"), Answer::refused("Invalid username"));
    }
}
