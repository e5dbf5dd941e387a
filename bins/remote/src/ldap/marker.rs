//! The entry that stands for a whole map, of sendmail's class sendmailMTAMap or sendmailMTAAlias.
//!
//! Whoever changes a map by a transaction changes this entry in it too, and first, on condition
//! that it is as it was when the map was read: of two writers that read the same map one is
//! overtaken, of whose changes none is made then.
//!
//! Followers look at it besides `contextCSN`. OpenLDAP shows that of changes in a transaction
//! before they can be read; a follower that reads just then would keep the old map for the new
//! one. The marker changes with the map itself.

use libmaps::sysexits::SysExit;

use super::Directory;
use super::change::{Change, refused};
use super::own::Own;
use crate::fault::Fault;
use crate::write::host;

impl Directory {
    /// The newest change of the marker; none: there is no such entry, or it is not for us to see.
    pub(super) async fn marker(&mut self, own: &Own) -> Result<Option<String>, Fault> {
        let Ok(dn) = own.marker_dn() else {
            return Ok(None);
        };
        let found = self.attributes_if_there(&dn, &["entryCSN"]).await?;
        Ok(found.and_then(|mut entry| entry.remove("entryCSN")?.pop()))
    }

    /// As [`Directory::marker`]; it is made where there is none.
    pub(super) async fn make_marker(&mut self, own: &Own) -> Result<String, Fault> {
        if let Some(csn) = self.marker(own).await? {
            return Ok(csn);
        }
        let made = Change::Add {
            dn: dn_of(own)?,
            attributes: own.marker(&text()),
        };
        let done = self.perform(made).await?;
        // entryAlreadyExists: another has made it meanwhile.
        if ![0, 68].contains(&done.rc) {
            let fault = refused(&done);
            let why = format!("the map's own entry, {}: {}", dn_of(own)?, fault.why);
            return Err(Fault::new(fault.exit, why));
        }
        let csn = self.marker(own).await?;
        csn.ok_or_else(|| {
            let why = "the map's own entry is there and can't be read: the name that logs in needs \
                       the right to";
            Fault::new(SysExit::Config, why)
        })
    }

    /// Changes the marker alone: what followers of other searches see of a transaction is what they
    /// see of this.
    pub(super) async fn touch_marker(&mut self, own: &Own) -> Result<(), Fault> {
        let done = self.perform(touch(own)?).await?;
        match done.rc {
            0 => Ok(()),
            _ => Err(refused(&done)),
        }
    }

    /// Makes an entry as those of the map, changes and deletes it, each by itself. A transaction
    /// that fails half-way is no harm to a directory that is alone, but no gain either; what is not
    /// allowed, or no part of the server's schema, is found out here. And OpenLDAP 2.5 damages a
    /// database where a transaction fails that was the first ever to use an attribute.
    pub(super) async fn probe(&mut self, own: &Own, attribute: &str) -> Result<(), Fault> {
        let named = |why: &str| Fault::new(SysExit::DataErr, why);
        let (dn, mut attributes) = own.probe().map_err(|why| named(&why))?;
        let value = |text: &str| text.as_bytes().to_vec();
        attributes.push((value(attribute), [value("probe")].into()));
        let replaced = Change::Replace {
            dn: dn.clone(),
            attribute: attribute.to_owned(),
            value: value("replaced"),
        };
        let mut tried = Ok(());
        for (what, change, fine) in [
            // entryAlreadyExists, noSuchObject: another writer does the same.
            (
                "made",
                Change::Add {
                    dn: dn.clone(),
                    attributes,
                },
                68,
            ),
            ("changed", replaced, 32),
            ("deleted", Change::Delete { dn: dn.clone() }, 32),
        ] {
            let done = self.perform(change).await?;
            if done.rc != 0 && done.rc != fine {
                let Fault { exit, why } = refused(&done);
                let why = format!("an entry like those of the map can't be {what} ({dn}): {why}");
                tried = tried.and(Err(Fault::new(exit, why)));
            }
        }
        tried
    }
}

/// The change of the marker that goes with a change of the map.
pub(super) fn touch(own: &Own) -> Result<Change, Fault> {
    Ok(Change::Replace {
        dn: dn_of(own)?,
        attribute: "description".to_owned(),
        value: text().into_bytes(),
    })
}

/// What of the marker must be so for a change to be made.
pub(super) fn as_it_was(csn: &str) -> String {
    format!("(entryCSN={})", ldap3::ldap_escape(csn))
}

fn dn_of(own: &Own) -> Result<String, Fault> {
    own.marker_dn()
        .map_err(|why| Fault::new(SysExit::DataErr, why))
}

/// What stands in the marker, for people.
fn text() -> String {
    format!("changed last by mapremote on {}", host())
}
