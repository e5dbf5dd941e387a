//! Files: landlock(7).

use std::path::{Path, PathBuf};

use landlock::{
    ABI, Access, AccessFs, BitFlags, PathBeneath, PathFd, Ruleset, RulesetAttr, RulesetCreated,
    RulesetCreatedAttr, RulesetError, RulesetStatus, Scope,
};

use crate::Reach;

/// The newest set of rights that is asked for; an older kernel does what it can.
const RIGHTS: ABI = ABI::V6;

/// What may be opened whoever one is, with its own rights: one only reads, the other takes all.
const DEVICES: [&str; 3] = ["/dev/null", "/dev/urandom", "/dev/random"];

/// Restricts this thread to the reach; says how.
pub(crate) fn restrict(reach: &Reach) -> Result<String, String> {
    match restricted(reach) {
        Ok(RulesetStatus::FullyEnforced) => Ok("files by landlock".into()),
        Ok(RulesetStatus::PartiallyEnforced) => Ok("files by landlock of an older kernel".into()),
        Ok(RulesetStatus::NotEnforced) => Err("this kernel has none".into()),
        Err(error) => Err(error.to_string()),
    }
}

fn restricted(reach: &Reach) -> Result<RulesetStatus, RulesetError> {
    let mut rules = Ruleset::default()
        .handle_access(AccessFs::from_all(RIGHTS))?
        // No signals to others, and no abstract sockets of theirs.
        .scope(Scope::from_all(RIGHTS))?
        .create()?;
    for folder in &reach.read {
        rules = allow(rules, folder, reading())?;
    }
    for folder in &reach.write {
        rules = allow(rules, folder, writing())?;
    }
    for device in DEVICES {
        let rights = AccessFs::ReadFile | AccessFs::WriteFile;
        rules = allow(rules, &PathBuf::from(device), rights)?;
    }
    Ok(rules.restrict_self()?.ruleset)
}

/// What is not there can't be allowed; whoever looks there finds nothing either way.
fn allow(
    rules: RulesetCreated,
    path: &Path,
    rights: BitFlags<AccessFs>,
) -> Result<RulesetCreated, RulesetError> {
    match PathFd::new(path) {
        Ok(fd) => rules.add_rule(PathBeneath::new(fd, rights)),
        Err(_) => Ok(rules),
    }
}

fn reading() -> BitFlags<AccessFs> {
    AccessFs::ReadFile | AccessFs::ReadDir
}

/// All that a queue needs: no programs, no devices. Links and FIFOs are what others may have put into
/// the drop folder, which a rename puts aside.
fn writing() -> BitFlags<AccessFs> {
    reading()
        | AccessFs::WriteFile
        | AccessFs::Truncate
        | AccessFs::MakeReg
        | AccessFs::MakeDir
        | AccessFs::MakeSock
        | AccessFs::MakeSym
        | AccessFs::MakeFifo
        | AccessFs::RemoveFile
        | AccessFs::RemoveDir
        | AccessFs::Refer
}
