//! Single changes of a directory, and why it does not take one.

use std::collections::HashSet;

use ldap3::{LdapError, LdapResult, Mod};
use libmaps::sysexits::SysExit;

use super::Directory;
use super::own::Made;
use crate::fault::{Fault, within};

/// A change of one entry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Change {
    /// A new entry.
    Add { dn: String, attributes: Made },
    /// Another value, alone.
    Replace {
        dn: String,
        attribute: String,
        value: Vec<u8>,
    },
    /// The entry goes.
    Delete { dn: String },
}

impl Change {
    /// The entry's name.
    pub(super) fn dn(&self) -> &str {
        match self {
            Change::Add { dn, .. } | Change::Replace { dn, .. } | Change::Delete { dn } => dn,
        }
    }

    /// How much of it is held in memory.
    pub(super) fn octets(&self) -> usize {
        let more = match self {
            Change::Add { attributes, .. } => {
                let values = attributes.iter().flat_map(|(_, values)| values);
                values.map(Vec::len).sum()
            }
            Change::Replace { value, .. } => value.len(),
            Change::Delete { .. } => 0,
        };
        self.dn().len() + more
    }
}

impl Directory {
    /// Asks for a change, with the controls that were set for it.
    pub(super) async fn perform(&mut self, change: Change) -> Result<LdapResult, Fault> {
        let time = self.server.timeout;
        match change {
            Change::Add { dn, attributes } => within(time, self.ldap.add(&dn, attributes)).await,
            Change::Replace {
                dn,
                attribute,
                value,
            } => {
                let values = HashSet::from([value]);
                let change = vec![Mod::Replace(attribute.into_bytes(), values)];
                within(time, self.ldap.modify(&dn, change)).await
            }
            Change::Delete { dn } => within(time, self.ldap.delete(&dn)).await,
        }
    }
}

/// Why the directory did not take a change.
pub(super) fn refused(done: &LdapResult) -> Fault {
    if let (10, Some(other)) = (done.rc, done.refs.first()) {
        let why = format!("the server takes no changes, name the one that does: {other}");
        return Fault::new(SysExit::Config, why);
    }
    // unavailableCriticalExtension: what is asked of changes in a transaction.
    if done.rc == 12 {
        let why = "the server has no transactions for this part of the tree, and without them a \
                   whole map is not written";
        return Fault::new(SysExit::Config, why);
    }
    let fault = Fault::from(LdapError::from(done.clone()));
    // undefinedAttributeType, constraintViolation, invalidAttributeSyntax, objectClassViolation:
    // it is the value that does not fit (RFC 4511 appendix A.2).
    match done.rc {
        17 | 19 | 21 | 65 => Fault::new(SysExit::DataErr, fault.why),
        _ => fault,
    }
}
