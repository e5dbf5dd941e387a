//! The accounts that are stored: CSV files of passwords and of hashes, and our programs' places.

use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::Path;
use std::process::{Command, Stdio};

use libmaps::sasl::secret::{Recipe, Salts, Secrets};
use libmaps::sasl::{Password, UserId};
use libmaps::source::csv::write_row;

/// The realm of every account.
pub(crate) const REALM: &str = "example.org";

/// What the third field of a row is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Third {
    /// A password, which is to be hashed.
    Password,
    /// Hashes; the same for all accounts, which costs a store the same.
    Hashes,
}

/// The name of the account of this number.
pub(crate) fn name(n: u32) -> String {
    format!("user{n}")
}

/// Writes so many accounts as CSV.
pub(crate) fn write(path: &Path, accounts: u32, third: Third) -> io::Result<()> {
    let hashes = derived("bench", "bench")?.to_text();
    let mut out = BufWriter::new(File::create(path)?);
    for n in 0..accounts {
        let name = name(n);
        let password = format!("password{n}");
        let third = match third {
            Third::Password => password.as_bytes(),
            Third::Hashes => hashes.expose(),
        };
        out.write_all(&write_row(&[name.as_bytes(), REALM.as_bytes(), third]))?;
    }
    out.flush()
}

/// The secrets of an account in [`REALM`], as saslpasswd2 derives them.
pub(crate) fn derived(name: &str, password: &str) -> io::Result<Secrets> {
    let user = UserId::new(name.as_bytes(), REALM.as_bytes()).map_err(io::Error::other)?;
    let password = Password::new(password.into()).map_err(io::Error::other)?;
    let recipe = Recipe {
        server_realms: vec![b"mail.example.org".to_vec()],
        ..Recipe::default()
    };
    let salts = Salts::random().map_err(io::Error::other)?;
    Secrets::derive(&user, &password, &recipe, &salts).map_err(io::Error::other)
}

/// `command`, a saslpasswd2, with `-p -c -f STORE -u REALM NAME` and the password on standard
/// input.
pub(crate) fn set_password(
    mut command: Command,
    store: &Path,
    name: &str,
    password: &Path,
) -> io::Result<Command> {
    command
        .args(["-p", "-c", "-u", REALM, "-f"])
        .arg(store)
        .arg(name)
        .stdin(Stdio::from(File::open(password)?));
    Ok(command)
}
