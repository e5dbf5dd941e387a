//! Whether an engine's map goes on from what is here, or has gone back or another way.
//!
//! Each switch of a map, to a new generation or back to an older one, has a
//! higher number than the one before, and each replica says by which switch
//! its generation came. An engine that shows another generation by a switch
//! that is not higher has lost what it once had confirmed: it was restored
//! from a backup, a server took the place of another before it had all, or an
//! old primary came back. Following it would make passwords good that were
//! taken away and let in what was refused; so the replica stays.
//!
//! Hosts that never had what was lost write on, and the numbers go up. So the
//! engine remembers the marks of the last [`REMEMBERED`] switches, and one that
//! remembers another generation by the replica's switch has gone another way:
//! the replica stays, however far the numbers go, until somebody makes a
//! switch on a host which holds what was lost. That one is remembered as
//! going on from the replica there too.
//!
//! A directory has no switches. It tells the newest change that it has of
//! each of its providers, and each replica says after which changes it was
//! read; a directory that lacks one of them is behind.

use libmaps::store::shared::Origin;
use libmaps::sysexits::SysExit;

use crate::engine::{Generation, Generations, REMEMBERED};
use crate::fault::Fault;

/// Checks that a generation which is current goes on from what is here. `all` is what the engine
/// has, `marks` what it remembers of the switch by which came what is here.
///
/// # Errors
/// The engine has gone back or another way, or does not remember so far back.
pub fn check(
    here: Option<&Origin>,
    wanted: &Generation,
    all: &Generations,
    marks: &[String],
) -> Result<(), Fault> {
    let Some(here) = here else {
        return Ok(());
    };
    let switches = here.serial.zip(wanted.origin.serial);
    if let Some((had, has)) = switches
        && has <= had
    {
        return Err(is_apart("has gone back", here, wanted));
    }
    if let Some(change) = missing_change(here, &wanted.origin) {
        return Err(is_behind(change, here));
    }
    // A directory's numbers are those of its newest entries, and may come again.
    if wanted.origin.standing.is_some() {
        return Ok(());
    }
    if !marks.is_empty() {
        return match marks.contains(&here.mark) {
            true => Ok(()),
            false => Err(is_apart("has gone another way", here, wanted)),
        };
    }
    let number = here.generation;
    if let Some((had, has)) = switches
        && has - had >= REMEMBERED
    {
        return Err(Fault::damaged(format!(
            "the engine does not remember as far back as switch {had}, by which generation \
             {number} came that is here: nobody can tell whether it goes on from there; mapctl \
             rollback on this host says that it counts"
        )));
    }
    let is_other = |g: &Generation| g.origin.generation == number && g.origin != *here;
    match all.whole.iter().any(is_other) {
        true => Err(is_apart("has gone another way", here, wanted)),
        false => Ok(()),
    }
}

/// That an engine is not followed.
fn is_apart(what: &str, here: &Origin, wanted: &Generation) -> Fault {
    let named = |origin: &Origin| {
        let switch = origin.serial.map(|serial| format!(" by switch {serial}"));
        format!(
            "generation {}{}",
            origin.generation,
            switch.unwrap_or_default()
        )
    };
    Fault::damaged(format!(
        "the engine {what}: {} is current there, and {}, which is here, is none that it goes on \
         from; mapctl rollback or a new build on this host says which counts",
        named(&wanted.origin),
        named(here)
    ))
}

/// That a directory is not followed.
#[must_use]
pub fn is_behind(change: &str, here: &Origin) -> Fault {
    let number = here.generation;
    let why = format!(
        "the directory is behind: it lacks the change {change}, which generation {number} here was \
         read after; mapctl rollback says that it counts all the same"
    );
    Fault::new(SysExit::TempFail, why)
}

/// A change that what is here was read after, and that the directory lacks which has other content:
/// it would take the replica back, as a consumer does that is no longer told of changes.
#[must_use]
pub fn missing_change<'a>(here: &'a Origin, there: &Origin) -> Option<&'a str> {
    let (had, has) = (here.standing.as_ref()?, there.standing.as_ref()?);
    match here == there {
        true => None,
        false => has.lacks(had),
    }
}

/// The switch after those that the engine and a replica know.
#[must_use]
pub fn next_serial(engine: u64, here: Option<&Origin>) -> u64 {
    let known = here.and_then(|here| here.serial).unwrap_or(0);
    engine.max(known).saturating_add(1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::tests::generation;
    use libmaps::store::shared::Standing;

    fn at(number: u64, mark: char, serial: Option<u64>) -> Generation {
        let mut generation = generation(number, None);
        generation.origin = Origin {
            generation: number,
            mark: mark.to_string().repeat(32),
            serial,
            standing: None,
        };
        generation
    }

    fn course(here: &Origin, wanted: Generation, marks: &[String]) -> Result<(), String> {
        let all = [wanted.clone()].into_iter().collect();
        check(Some(here), &wanted, &all, marks).map_err(|fault| fault.why)
    }

    #[test]
    fn a_later_switch_goes_on_and_an_earlier_one_back() {
        let here = at(7, 'a', Some(9)).origin;
        assert_eq!(course(&here, at(8, 'b', Some(10)), &[]), Ok(()));
        // A rollback is a later switch too.
        assert_eq!(course(&here, at(6, 'b', Some(10)), &[]), Ok(()));
        for (number, serial) in [(6, 8), (7, 9), (8, 9)] {
            let marks = [here.mark.clone()];
            let why = course(&here, at(number, 'b', Some(serial)), &marks).unwrap_err();
            assert!(why.contains("gone back"), "{why}");
        }
        // An engine that does not count is believed.
        assert_eq!(course(&here, at(6, 'b', None), &[]), Ok(()));
        let none = Generations::default();
        assert_eq!(check(None, &at(1, 'b', Some(1)), &none, &[]), Ok(()));
    }

    #[test]
    fn what_is_remembered_of_a_switch_counts_more_than_numbers() {
        let here = at(7, 'a', Some(9)).origin;
        let marks = |marks: &str| -> Vec<String> {
            let mark = |c: char| c.to_string().repeat(32);
            marks.chars().map(mark).collect()
        };
        for far in [10, 9 + REMEMBERED, u64::MAX] {
            for number in [7, 8] {
                let wanted = || at(number, 'd', Some(far));
                assert_eq!(course(&here, wanted(), &marks("a")), Ok(()));
                assert_eq!(course(&here, wanted(), &marks("ba")), Ok(()));
                let why = course(&here, wanted(), &marks("bc")).unwrap_err();
                assert!(why.contains("gone another way"), "{why}");
            }
        }
        // Of an older program's switches nothing is remembered.
        let why = course(&here, at(7, 'b', Some(10)), &[]).unwrap_err();
        assert!(why.contains("gone another way"), "{why}");
        assert_eq!(course(&here, at(8, 'b', Some(8 + REMEMBERED)), &[]), Ok(()));
        let why = course(&here, at(8, 'b', Some(9 + REMEMBERED)), &[]).unwrap_err();
        assert!(why.contains("does not remember as far back"), "{why}");
    }

    #[test]
    fn a_directory_that_lacks_a_change_is_behind() {
        let stood = |number, mark, changes: &str| {
            let mut generation = at(number, mark, None);
            generation.origin.standing = Standing::parse(changes);
            generation
        };
        let here = stood(7, 'a', "2.0Z#0#001#0,5.0Z#0#002#0").origin;
        for changes in ["2.0Z#0#001#0,5.0Z#0#002#0", "3.0Z#0#001#0,5.0Z#0#002#0"] {
            // The newest entry may have gone, and the number with it.
            assert_eq!(
                course(&here, stood(6, 'b', changes), &[]),
                Ok(()),
                "{changes}"
            );
        }
        for changes in ["1.0Z#0#001#0,6.0Z#0#002#0", "3.0Z#0#001#0"] {
            let wanted = stood(8, 'b', changes);
            let fault = check(Some(&here), &wanted, &Generations::default(), &[]).unwrap_err();
            assert!(
                fault.why.contains("is behind: it lacks the change"),
                "{fault}"
            );
            assert_eq!(fault.exit, SysExit::TempFail);
        }
    }

    #[test]
    fn a_writer_leaves_both_behind() {
        let here = at(7, 'a', Some(9)).origin;
        assert_eq!(next_serial(3, Some(&here)), 10);
        assert_eq!(next_serial(12, Some(&here)), 13);
        assert_eq!(next_serial(0, None), 1);
    }
}
