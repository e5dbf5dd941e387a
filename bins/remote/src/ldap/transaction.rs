//! Transactions (RFC 5805): changes that a server collects and makes all at once, or none.
//!
//! OpenLDAP has them for back-mdb since 2.5. It checks the form of each change when it comes and
//! makes all of them when the end is asked for; until then nothing has happened, and a connection
//! that is lost takes them with it.

use std::collections::HashMap;
use std::time::Duration;

use ldap3::LdapResult;
use ldap3::controls::{Assertion, RawControl};
use ldap3::exop::{EndTxn, Exop, StartTxn};
use libmaps::sysexits::SysExit;

use super::Directory;
use super::change::{Change, refused};
use crate::fault::{Fault, within};

/// What starts a transaction, what ends it, and what makes a change part of it.
const START: &str = "1.3.6.1.1.21.1";
const END: &str = "1.3.6.1.1.21.3";
const PART: &str = "1.3.6.1.1.21.2";
/// Changes that are made only if an entry is as it was (RFC 4528).
const ASSERTION: &str = "1.3.6.1.1.12";

/// How long the server may make others' changes first, and how long each of ours may take.
const LONGEST_WAIT: Duration = Duration::from_secs(300);
const LONGEST_CHANGE: Duration = Duration::from_millis(20);

/// transactionSpecificationOkay as OpenLDAP numbers it; it says success of a change that it took.
const TAKEN: u32 = 16_672;
/// assertionFailed.
const NO_MORE_SO: u32 = 122;

/// A transaction that was started.
pub(super) struct Transaction {
    id: String,
    /// Which entry a message was about.
    asked: HashMap<i32, String>,
}

/// What became of a transaction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Ended {
    /// All its changes were made.
    Made,
    /// None was: an entry is not as it was any more.
    Overtaken,
}

impl Directory {
    /// Whether the server has what writing a whole map needs.
    ///
    /// # Errors
    /// It has not, or does not answer.
    pub(super) async fn check_transactions(&mut self) -> Result<(), Fault> {
        let names = ["supportedExtension", "supportedControl"];
        let root = self.attributes("", "(objectClass=*)", &names).await?;
        match lacks(&root) {
            None => Ok(()),
            Some((name, oid)) => {
                let why = format!(
                    "the server has no transactions (its root has no {name} {oid}), and without \
                     them a whole map is not written; change entries with editmap(8) or \
                     ldapmodify(1)"
                );
                Err(Fault::new(SysExit::Config, why))
            }
        }
    }

    pub(super) async fn start(&mut self) -> Result<Transaction, Fault> {
        let time = self.server.timeout;
        let (exop, done) = self.extended(StartTxn.into(), time).await?;
        if done.rc != 0 {
            return Err(refused(&done));
        }
        // OpenLDAP's is empty: a connection has one at the most.
        let id = String::from_utf8(exop.val.unwrap_or_default());
        Ok(Transaction {
            id: id.map_err(|_| Fault::damaged("a transaction whose name is no text"))?,
            asked: HashMap::new(),
        })
    }

    /// Makes a change part of the transaction; with `only_if`, a filter, the entry must be so when
    /// it is made.
    ///
    /// # Errors
    /// The server does not take it; it keeps nothing of the transaction then.
    pub(super) async fn add_to(
        &mut self,
        transaction: &mut Transaction,
        change: Change,
        only_if: Option<&str>,
    ) -> Result<(), Fault> {
        let mut controls = vec![RawControl {
            ctype: PART.to_owned(),
            crit: true,
            val: Some(transaction.id.clone().into_bytes()),
        }];
        controls.extend(only_if.map(|filter| {
            let mut assertion: RawControl = Assertion { filter }.into();
            assertion.crit = true;
            assertion
        }));
        let dn = change.dn().to_owned();
        self.ldap.with_controls(controls);
        let done = self.perform(change).await?;
        if ![0, TAKEN].contains(&done.rc) {
            let fault = of_entry(&dn, refused(&done));
            self.give_up(transaction).await?;
            return Err(fault);
        }
        transaction.asked.insert(self.ldap.last_id(), dn);
        Ok(())
    }

    /// Ends a transaction of which nothing is to happen.
    pub(super) async fn give_up(&mut self, transaction: &Transaction) -> Result<(), Fault> {
        let end = EndTxn {
            txn_id: &transaction.id,
            commit: false,
        };
        let time = self.server.timeout;
        let (_, done) = self.extended(end.into(), time).await?;
        match done.rc {
            0 => Ok(()),
            _ => Err(refused(&done)),
        }
    }

    /// Has the changes made.
    ///
    /// # Errors
    /// One of them can't be made, and none was; or the server is gone, and may have made them.
    pub(super) async fn end(&mut self, transaction: Transaction) -> Result<Ended, Fault> {
        let end = EndTxn {
            txn_id: &transaction.id,
            commit: true,
        };
        // Whoever goes away meanwhile may take slapd with him.
        let each = u32::try_from(transaction.asked.len()).unwrap_or(u32::MAX);
        let time = self.server.timeout.max(LONGEST_WAIT) + LONGEST_CHANGE.saturating_mul(each);
        let (exop, done) = self.extended(end.into(), time).await.map_err(|fault| {
            let why = format!(
                "{}; the directory may or may not have the change",
                fault.why
            );
            Fault::new(fault.exit, why)
        })?;
        let at = exop.val.as_deref().and_then(message_of);
        let dn = at.and_then(|id| transaction.asked.get(&id));
        match (done.rc, dn) {
            (0, _) => Ok(Ended::Made),
            (NO_MORE_SO, _) => Ok(Ended::Overtaken),
            (_, Some(dn)) => Err(of_entry(dn, refused(&done))),
            (_, None) => Err(refused(&done)),
        }
    }

    async fn extended(&mut self, exop: Exop, time: Duration) -> Result<(Exop, LdapResult), Fault> {
        let done = within(time, self.ldap.extended(exop)).await?;
        Ok((done.0, done.1))
    }
}

/// What the root of a server does not tell that is needed. OpenLDAP does not list the control that
/// makes a change part of a transaction.
fn lacks(root: &HashMap<String, Vec<String>>) -> Option<(&'static str, &'static str)> {
    let needed = [
        ("supportedExtension", START),
        ("supportedExtension", END),
        ("supportedControl", ASSERTION),
    ];
    let has = |name: &str, oid: &str| root.get(name).is_some_and(|a| a.iter().any(|o| o == oid));
    needed.into_iter().find(|(name, oid)| !has(name, oid))
}

fn of_entry(dn: &str, fault: Fault) -> Fault {
    let why = match fault.why.contains("rc=68") {
        true => "an entry of this name is there that the map's search does not find".to_owned(),
        false => fault.why,
    };
    Fault::new(fault.exit, format!("{dn}: {why}"))
}

/// Which message failed: `SEQUENCE { messageID INTEGER, ... }` (RFC 5805 section 2.4). What is
/// anything else says nothing.
fn message_of(value: &[u8]) -> Option<i32> {
    let rest = value.strip_prefix(&[0x30])?;
    // The length is that of the whole value, in one octet or, of a longer one, in some more.
    let (first, rest) = rest.split_first()?;
    let rest = match first {
        0..0x80 => rest,
        _ => rest.get(usize::from(first & 0x7f)..)?,
    };
    let rest = rest.strip_prefix(&[0x02])?;
    let (length, rest) = rest.split_first()?;
    let number = rest.get(..usize::from(*length))?;
    if number.is_empty() || number.len() > 4 {
        return None;
    }
    let number = number.iter().fold(0_i64, |n, c| n << 8 | i64::from(*c));
    i32::try_from(number).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_server_lacks_is_named() {
        let extensions = [START, END].map(str::to_owned).to_vec();
        let mut root = HashMap::from([("supportedExtension".to_owned(), extensions)]);
        assert_eq!(lacks(&root), Some(("supportedControl", ASSERTION)));
        root.insert("supportedControl".into(), vec![ASSERTION.into()]);
        assert_eq!(lacks(&root), None);
        root.insert("supportedExtension".into(), vec![START.into()]);
        assert_eq!(lacks(&root), Some(("supportedExtension", END)));
        assert!(lacks(&HashMap::new()).is_some());
    }

    #[test]
    fn the_message_that_failed_is_read() {
        for (value, message) in [
            (&[0x30, 3, 2, 1, 7][..], Some(7)),
            (&[0x30, 4, 2, 2, 1, 0], Some(256)),
            (&[0x30, 0x82, 0, 3, 2, 1, 7], Some(7)),
            (&[0x30, 9, 2, 1, 7, 0xa0, 0], Some(7)),
            (&[0x30, 6, 2, 4, 0xff, 0xff, 0xff, 0xff], None),
            (&[0x30, 7, 2, 5, 0, 0, 0, 0, 1], None),
            (&[0x30, 2, 2, 0], None),
            (&[0x30, 3, 2, 9, 7], None),
            (&[0x30, 0xff], None),
            (&[0x30], None),
            (&[], None),
            (b"text", None),
        ] {
            assert_eq!(message_of(value), message, "{value:?}");
        }
    }
}
