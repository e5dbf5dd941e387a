//! Section `publish`: the programs themselves, killed and given errors at each system call on
//! a map's files, with strace(1).
//!
//! One judge for all: the map is the old one or the new one, whole; the exit status says which;
//! the message names the file; and the next run works and leaves nothing but the map.

mod job;
mod strace;

use std::io;
use std::path::Path;

use super::report::Findings;
use super::{Effort, Lab, Section};
use job::{Content, JOBS, Job, Site};
use strace::{Call, Ended, Injection};

pub(super) const SECTION: Section = Section {
    name: "publish",
    promise: "programs killed or given errors: the old map or the new one, whole, and told right",
    run,
};

/// What a system call is made to give.
const ERRORS: [&str; 4] = ["EIO", "ENOSPC", "EDQUOT", "EINTR"];
/// In a sample one of so many injections is tried, and those that are decisive.
const SAMPLE: usize = 97;

fn run(lab: &Lab, found: &mut Findings) -> io::Result<()> {
    if let Err(why) = strace::works(&lab.folder) {
        found.skip(format!("strace(1) can't be used: {why}"));
        return Ok(());
    }
    // A sample of all jobs together takes each call at another injection.
    let mut turn = 0;
    for job in JOBS {
        if !lab.programs.join(job.program).exists() {
            found.skip(format!("{}: no {} here", job.name, job.program));
            continue;
        }
        eprintln!("faults: publish: {}", job.name);
        let trial = Trial::prepare(job, lab)?;
        found.count("ways to publish", 1);
        found.count("system calls on a map's files", trial.calls.len() as u64);
        for call in &trial.calls {
            let kill = Injection::Kill;
            let all = ERRORS.iter().map(|error| Injection::Error(error));
            for injection in std::iter::once(kill).chain(all) {
                turn += 1;
                let chosen = turn % SAMPLE == 0 || is_decisive(call, &injection);
                if lab.effort == Effort::Quick && !chosen {
                    continue;
                }
                trial.inject(call, &injection, found)?;
            }
        }
    }
    Ok(())
}

/// Kills around a rename are in each sample, and signals while a file is locked or its descriptor
/// doubled.
fn is_decisive(call: &Call, injection: &Injection) -> bool {
    match injection {
        Injection::Kill => call.name.starts_with("rename"),
        Injection::Error(error) => *error == "EINTR" && ["fcntl", "flock"].contains(&&*call.name),
    }
}

/// One job, and what it does when nothing happens.
struct Trial<'a> {
    job: &'a Job,
    programs: &'a Path,
    site: Site,
    old: Content,
    new: Content,
    calls: Vec<Call>,
}

impl<'a> Trial<'a> {
    fn prepare(job: &'a Job, lab: &'a Lab) -> io::Result<Self> {
        let site = Site::prepare(job, &lab.programs, &lab.folder)?;
        let failed = |e: String| io::Error::other(format!("{}: {e}", job.name));
        let old = site.content(job).map_err(failed)?;
        let ended = strace::run(&mut site.command(job, &lab.programs), &site, None)?;
        if !ended.success() {
            return Err(failed(ended.errors));
        }
        let new = site.content(job).map_err(failed)?;
        if new == old {
            return Err(failed("it changes nothing".into()));
        }
        Ok(Trial {
            calls: strace::calls(&ended.trace),
            programs: &lab.programs,
            job,
            site,
            old,
            new,
        })
    }

    fn inject(&self, call: &Call, injection: &Injection, found: &mut Findings) -> io::Result<()> {
        self.site.lay_out()?;
        let mut command = self.site.command(self.job, self.programs);
        let ended = strace::run(&mut command, &self.site, Some((call, injection)))?;
        found.count(
            match injection {
                Injection::Kill => "kills",
                Injection::Error(_) => "errors",
            },
            1,
        );
        let judged = match injection {
            Injection::Kill => self.judge_kill(&ended),
            Injection::Error(error) => self.judge_error(call, error, &ended),
        };
        let judged = judged.and_then(|()| self.judge_next_run());
        if let Err(why) = judged {
            let what = format!("{}: {injection} at {call}", self.job.name);
            found.lose(format!("{what}: {why}"));
        }
        Ok(())
    }

    fn now(&self) -> Result<Content, String> {
        let now = self.site.content(self.job)?;
        match now == self.old || now == self.new {
            true => Ok(now),
            false => Err(format!("neither the old map nor the new one: {now:?}")),
        }
    }

    fn judge_kill(&self, ended: &Ended) -> Result<(), String> {
        let now = self.now()?;
        if ended.success() && now != self.new {
            return Err("success, and not the new map".into());
        }
        Ok(())
    }

    fn judge_error(&self, call: &Call, error: &str, ended: &Ended) -> Result<(), String> {
        let now = self.now()?;
        let told = ended.errors.trim();
        if told.contains("panicked") {
            return Err(format!("it panicked: {told}"));
        }
        if ended.success() {
            if now != self.new {
                return Err("success, and not the new map".into());
            }
        } else {
            if error == "EINTR" {
                return Err(format!("it was not done again: {told}"));
            }
            match ended.code {
                Some(code) if self.job.codes.contains(&code) => {}
                other => return Err(format!("it ended with {other:?}: {told}")),
            }
            if !self.site.is_named(self.job, told) {
                return Err(format!("the message names no file of the map: {told}"));
            }
        }
        // What can't be removed is left; nor is a lock removed whose holder can't be told.
        let left = self.site.left();
        let may_stay = |name: &String| {
            call.name.starts_with("unlink")
                || (name.ends_with(".lock") && ["flock", "statx", "fstat"].contains(&&*call.name))
        };
        match left.iter().all(may_stay) {
            true => Ok(()),
            false => Err(format!("left {}", left.join(", "))),
        }
    }

    fn judge_next_run(&self) -> Result<(), String> {
        let output = self.site.command(self.job, self.programs).output();
        let output = output.map_err(|e| e.to_string())?;
        let errors = String::from_utf8_lossy(&output.stderr);
        if !output.status.success() {
            return Err(format!("the next run: {}: {errors}", output.status));
        }
        if self.site.content(self.job)? != self.new {
            return Err("the next run gives another map".into());
        }
        match self.site.left() {
            left if left.is_empty() => Ok(()),
            left => Err(format!("the next run left {}", left.join(", "))),
        }
    }
}
