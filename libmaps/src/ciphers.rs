//! OpenSSL's cipher lists (ciphers(1)), as far as they speak of what is spoken here.
//!
//! Of the ciphers of TLS 1.2 that is six: ephemeral keys on elliptic curves with AES-GCM or
//! ChaCha20. The ciphers of TLS 1.3 are in no list. Words for anything else match none of the six,
//! and neither do words that OpenSSL does not know, which it passes over.

/// What signs the handshake.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Signature {
    Ecdsa,
    Rsa,
}

/// What encrypts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Encryption {
    Aes256,
    ChaCha20,
    Aes128,
}

/// A cipher suite of TLS 1.2.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cipher {
    /// Its name, as OpenSSL spells it.
    pub name: &'static str,
    signature: Signature,
    encryption: Encryption,
}

/// All of them, in the order of OpenSSL's default.
pub const ALL: [Cipher; 6] = {
    use Encryption::{Aes128, Aes256, ChaCha20};
    use Signature::{Ecdsa, Rsa};
    const fn cipher(name: &'static str, signature: Signature, encryption: Encryption) -> Cipher {
        Cipher {
            name,
            signature,
            encryption,
        }
    }
    [
        cipher("ECDHE-ECDSA-AES256-GCM-SHA384", Ecdsa, Aes256),
        cipher("ECDHE-RSA-AES256-GCM-SHA384", Rsa, Aes256),
        cipher("ECDHE-ECDSA-CHACHA20-POLY1305", Ecdsa, ChaCha20),
        cipher("ECDHE-RSA-CHACHA20-POLY1305", Rsa, ChaCha20),
        cipher("ECDHE-ECDSA-AES128-GCM-SHA256", Ecdsa, Aes128),
        cipher("ECDHE-RSA-AES128-GCM-SHA256", Rsa, Aes128),
    ]
};

impl Cipher {
    fn bits(self) -> u32 {
        match self.encryption {
            Encryption::Aes256 | Encryption::ChaCha20 => 256,
            Encryption::Aes128 => 128,
        }
    }

    /// Whether one word of an element, without its operator, is about it.
    fn is(self, word: &str) -> bool {
        let aes = self.encryption != Encryption::ChaCha20;
        match word {
            "ALL" | "HIGH" | "TLSv1.2" => true,
            "ECDH" | "ECDHE" | "EECDH" | "kECDHE" | "kEECDH" => true,
            "AES" | "AESGCM" | "FIPS" => aes,
            "AES256" => self.encryption == Encryption::Aes256,
            "AES128" => self.encryption == Encryption::Aes128,
            "CHACHA20" => self.encryption == Encryption::ChaCha20,
            "aECDSA" | "ECDSA" => self.signature == Signature::Ecdsa,
            "aRSA" => self.signature == Signature::Rsa,
            name => name == self.name,
        }
    }

    /// Whether an element is about it: all of its words are.
    fn fits(self, element: &str) -> bool {
        element.split('+').all(|word| self.is(word))
    }
}

/// Whether a cipher is in use at this point of a list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Active,
    Waiting,
}

/// The ciphers that a list leaves, the preferred first.
#[must_use]
pub fn of_list(list: &str) -> Vec<Cipher> {
    // Red Hat's OpenSSL takes it from the policy of the system, which is not asked here.
    let list = match list.strip_prefix("DEFAULT") {
        Some(rest) => format!("ALL{rest}"),
        None if list.starts_with("PROFILE=") => "ALL".to_owned(),
        None => list.to_owned(),
    };
    // A word ends at these two as well.
    let list = list.replace('!', ":!").replace('@', ":@");
    let mut all: Vec<(Cipher, State)> = ALL.iter().map(|c| (*c, State::Waiting)).collect();
    for element in list.split([':', ',', ' ', ';']).filter(|e| !e.is_empty()) {
        all = apply(element, all);
    }
    let active = all.into_iter().filter(|(_, state)| *state == State::Active);
    active.map(|(cipher, _)| cipher).collect()
}

/// What becomes of the ciphers by one element (ciphers(1), "CIPHER LIST FORMAT").
fn apply(element: &str, all: Vec<(Cipher, State)>) -> Vec<(Cipher, State)> {
    use State::{Active, Waiting};
    let split = |name: &str, state: State| {
        let (name, all) = (name.to_owned(), all.clone());
        let concerned = move |(c, s): &(Cipher, State)| *s == state && c.fits(&name);
        all.into_iter().partition::<Vec<_>, _>(concerned)
    };
    let with =
        |list: Vec<(Cipher, State)>, state: State| list.into_iter().map(move |(c, _)| (c, state));
    match element.split_at_checked(1) {
        Some(("!", name)) => all.into_iter().filter(|(c, _)| !c.fits(name)).collect(),
        Some(("-", name)) => {
            let (gone, rest) = split(name, Active);
            with(gone, Waiting).chain(rest).collect()
        }
        Some(("+", name)) => {
            let (moved, rest) = split(name, Active);
            rest.into_iter().chain(moved).collect()
        }
        Some(("@", "STRENGTH")) => {
            let mut sorted = all;
            sorted.sort_by_key(|(c, state)| (*state == Active, u32::MAX - c.bits()));
            sorted
        }
        // Levels above ask for 192 bits and more.
        Some(("@", level)) => match level.strip_prefix("SECLEVEL=") {
            Some("4" | "5") => all.into_iter().filter(|(c, _)| c.bits() > 128).collect(),
            _ => all,
        },
        _ => {
            let (added, rest) = split(element, Waiting);
            rest.into_iter().chain(with(added, Active)).collect()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What `openssl ciphers LIST` of OpenSSL 3.0 prints of the six.
    #[test]
    fn lists_leave_what_openssl_leaves() {
        let (e256, r256) = (
            "ECDHE-ECDSA-AES256-GCM-SHA384",
            "ECDHE-RSA-AES256-GCM-SHA384",
        );
        let (echa, rcha) = (
            "ECDHE-ECDSA-CHACHA20-POLY1305",
            "ECDHE-RSA-CHACHA20-POLY1305",
        );
        let (e128, r128) = (
            "ECDHE-ECDSA-AES128-GCM-SHA256",
            "ECDHE-RSA-AES128-GCM-SHA256",
        );
        let all = vec![e256, r256, echa, rcha, e128, r128];
        for (list, wanted) in [
            ("DEFAULT", all.clone()),
            ("PROFILE=SYSTEM", all.clone()),
            ("HIGH:!aNULL:!MD5", all.clone()),
            ("ECDH", all.clone()),
            ("ALL:+HIGH:@STRENGTH", all.clone()),
            ("HIGH:@SECLEVEL=2", all.clone()),
            ("ALL:@SECLEVEL=4", vec![e256, r256, echa, rcha]),
            ("FIPS", vec![e256, r256, e128, r128]),
            ("ECDHE+AESGCM", vec![e256, r256, e128, r128]),
            ("EECDH+CHACHA20:EECDH+AES128", vec![echa, rcha, e128, r128]),
            (
                "CHACHA20:AES256:-ECDSA:ALL",
                vec![rcha, r256, echa, e256, e128, r128],
            ),
            ("AES+aRSA+TLSv1.2", vec![r256, r128]),
            ("AES128:+aECDSA", vec![r128, e128]),
            (
                "AES128:@STRENGTH:CHACHA20:@STRENGTH",
                vec![echa, rcha, e128, r128],
            ),
            ("ALL:!AES128", vec![e256, r256, echa, rcha]),
            ("DEFAULT@SECLEVEL=1", all.clone()),
            ("ALL@STRENGTH", all.clone()),
            ("HIGH!aNULL!AES128", vec![e256, r256, echa, rcha]),
            ("DEFAULT:-AES:AES256", vec![echa, rcha, e256, r256]),
            ("ALL:!CHACHA20:CHACHA20", vec![e256, r256, e128, r128]),
            ("NOSUCH+AES:ECDHE-RSA-AES128-GCM-SHA256", vec![r128]),
            ("RC4-SHA,AES256-SHA MEDIUM;kRSA", vec![]),
            ("SHA256:SHA384:TLSv1:ecdhe:RSA", vec![]),
            ("", vec![]),
        ] {
            let names: Vec<&str> = of_list(list).iter().map(|c| c.name).collect();
            assert_eq!(names, wanted, "{list}");
        }
    }
}
