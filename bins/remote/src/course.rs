//! Whether an engine's map goes on from what is here, or has gone back.
//!
//! Each switch of a map, to a new generation or back to an older one, has a
//! higher number than the one before, and each replica says by which switch
//! its generation came. An engine that shows another generation by a switch
//! that is not higher has lost what it once had confirmed: it was restored
//! from a backup, a server took the place of another before it had all, or an
//! old primary came back. Following it would make passwords good that were
//! taken away and let in what was refused; so the replica stays, until a
//! writer that knows the replica's switch has made a higher one.
//!
//! A directory has no switches. It tells the newest change that it has of
//! each of its providers, and each replica says after which changes it was
//! read; a directory that lacks one of them is behind.

use libmaps::store::shared::Origin;
use libmaps::sysexits::SysExit;

use crate::engine::{Generation, Generations};
use crate::fault::Fault;

/// How a generation that is current follows upon the one that is here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Course {
    /// As it should.
    Onward,
    /// By a later switch, but the engine does not know what is here: another was made in its place.
    Parted,
}

impl Course {
    /// From what is here to what is wanted, of all that the engine has.
    ///
    /// # Errors
    /// The engine has gone back.
    pub fn of(
        here: Option<&Origin>,
        wanted: &Generation,
        all: &Generations,
    ) -> Result<Course, Fault> {
        let Some(here) = here else {
            return Ok(Course::Onward);
        };
        let (number, current) = (here.generation, wanted.origin.generation);
        if let (Some(had), Some(has)) = (here.serial, wanted.origin.serial)
            && has <= had
        {
            return Err(Fault::damaged(format!(
                "the engine has gone back: generation {current} by switch {has} is current there, \
                 and generation {number} by switch {had} is here; mapctl rollback or a new build \
                 on this host says which counts"
            )));
        }
        if let Some(change) = missing_change(here, &wanted.origin) {
            return Err(is_behind(change, here));
        }
        // A directory's numbers are those of its newest entries, and may come again.
        if wanted.origin.standing.is_some() {
            return Ok(Course::Onward);
        }
        let other = |g: &Generation| g.origin.generation == number && g.origin != *here;
        match all.whole.iter().any(other) {
            true => Ok(Course::Parted),
            false => Ok(Course::Onward),
        }
    }
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

    #[test]
    fn a_later_switch_goes_on_and_an_earlier_one_back() {
        let here = at(7, 'a', Some(9)).origin;
        let course = |wanted: Generation| {
            let all = [wanted.clone()].into_iter().collect();
            Course::of(Some(&here), &wanted, &all)
        };
        assert_eq!(course(at(8, 'b', Some(10))), Ok(Course::Onward));
        // A rollback is a later switch too.
        assert_eq!(course(at(6, 'b', Some(10))), Ok(Course::Onward));
        assert_eq!(course(at(7, 'b', Some(10))), Ok(Course::Parted));
        for (number, serial) in [(6, 8), (7, 9), (8, 9)] {
            let fault = course(at(number, 'b', Some(serial))).unwrap_err();
            assert!(fault.why.contains("gone back"), "{fault}");
        }
        // An engine that does not count is believed.
        assert_eq!(course(at(6, 'b', None)), Ok(Course::Onward));
        assert_eq!(
            Course::of(None, &at(1, 'b', Some(1)), &Generations::default()),
            Ok(Course::Onward)
        );
    }

    #[test]
    fn a_directory_that_lacks_a_change_is_behind() {
        let stood = |number, mark, changes: &str| {
            let mut generation = at(number, mark, None);
            generation.origin.standing = Standing::parse(changes);
            generation
        };
        let here = stood(7, 'a', "2.0Z#0#001#0,5.0Z#0#002#0").origin;
        let course = |wanted: Generation| {
            let all = [wanted.clone()].into_iter().collect();
            Course::of(Some(&here), &wanted, &all)
        };
        for changes in ["2.0Z#0#001#0,5.0Z#0#002#0", "3.0Z#0#001#0,5.0Z#0#002#0"] {
            // The newest entry may have gone, and the number with it.
            assert_eq!(
                course(stood(6, 'b', changes)),
                Ok(Course::Onward),
                "{changes}"
            );
        }
        for changes in ["1.0Z#0#001#0,6.0Z#0#002#0", "3.0Z#0#001#0"] {
            let fault = course(stood(8, 'b', changes)).unwrap_err();
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
