//! One run of a program, measured.

use std::io;
use std::process::{Child, Command};
use std::time::{Duration, Instant};

/// What a run took.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Run {
    /// From start to end.
    pub(crate) wall: Duration,
    /// User and system time of all its threads.
    pub(crate) cpu: Duration,
    /// The most memory it had at a time, in octets.
    pub(crate) peak_octets: u64,
}

impl Run {
    /// Both runs, one after the other.
    pub(crate) fn and(self, next: Run) -> Run {
        Run {
            wall: self.wall + next.wall,
            cpu: self.cpu + next.cpu,
            peak_octets: self.peak_octets.max(next.peak_octets),
        }
    }
}

/// Runs a command to its end.
///
/// # Errors
/// It cannot be started, or does not end with 0.
pub(crate) fn measure(command: &mut Command) -> io::Result<Run> {
    let begun = Instant::now();
    let child = command.spawn()?;
    let (status, run) = ended(begun, child)?;
    succeeded(command, status)?;
    Ok(run)
}

/// As [`measure`]; a command that uses a processor for longer is stopped.
///
/// # Errors
/// As [`measure`], and when it was stopped.
pub(crate) fn measure_within(command: &mut Command, cpu_seconds: u64) -> io::Result<Run> {
    let begun = Instant::now();
    let child = command.spawn()?;
    let limited = limit_cpu(&child, cpu_seconds);
    let (status, run) = ended(begun, child)?;
    limited?;
    // getrlimit(2): SIGKILL is what comes where the limit can't be raised.
    if status == libc::SIGKILL && run.cpu.as_secs() + 1 >= cpu_seconds {
        let text = format!("stopped after {cpu_seconds} s of CPU time");
        return Err(io::Error::other(text));
    }
    succeeded(command, status)?;
    Ok(run)
}

#[allow(unsafe_code)] // std sets no limits
fn limit_cpu(child: &Child, seconds: u64) -> io::Result<()> {
    let pid = i32::try_from(child.id()).map_err(io::Error::other)?;
    let limit = libc::rlimit {
        rlim_cur: seconds,
        rlim_max: seconds,
    };
    // SAFETY: the limit lives until the call is over, and the old one is not asked for. The child
    // has not been waited for, so the number is its own.
    match unsafe {
        libc::prlimit(
            pid,
            libc::RLIMIT_CPU,
            &raw const limit,
            std::ptr::null_mut(),
        )
    } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

fn ended(begun: Instant, child: Child) -> io::Result<(i32, Run)> {
    let (status, usage) = wait(child)?;
    let run = Run {
        wall: begun.elapsed(),
        cpu: time(usage.ru_utime) + time(usage.ru_stime),
        peak_octets: u64::try_from(usage.ru_maxrss).unwrap_or(0) * 1024,
    };
    Ok((status, run))
}

fn succeeded(command: &Command, status: i32) -> io::Result<()> {
    match status {
        0 => Ok(()),
        _ => Err(io::Error::other(format!(
            "{command:?}: ended with status {status:#x}"
        ))),
    }
}

fn time(time: libc::timeval) -> Duration {
    let seconds = u64::try_from(time.tv_sec).unwrap_or(0);
    let micros = u64::try_from(time.tv_usec).unwrap_or(0);
    Duration::from_secs(seconds) + Duration::from_micros(micros)
}

#[allow(unsafe_code)] // std's wait does not tell what the child used
fn wait(child: Child) -> io::Result<(i32, libc::rusage)> {
    let pid = i32::try_from(child.id()).map_err(io::Error::other)?;
    let mut status = 0;
    loop {
        // SAFETY: rusage is plain numbers, for which zeros are a value.
        let mut usage: libc::rusage = unsafe { std::mem::zeroed() };
        // SAFETY: both pointers are to live variables of the types that wait4 writes; the child
        // is ours and nobody else waits for it.
        match unsafe { libc::wait4(pid, &mut status, 0, &mut usage) } {
            -1 if io::Error::last_os_error().kind() == io::ErrorKind::Interrupted => {}
            -1 => return Err(io::Error::last_os_error()),
            _ => return Ok((status, usage)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_run_took_is_told() {
        let run = measure(Command::new("sh").args(["-c", "true"])).unwrap();
        assert!(run.peak_octets > 0);
        let error = measure(Command::new("sh").args(["-c", "exit 3"])).unwrap_err();
        assert!(error.to_string().ends_with("0x300"), "{error}");
    }

    #[test]
    fn who_takes_too_long_is_stopped() {
        let mut sh = Command::new("sh");
        let run = measure_within(sh.args(["-c", "true"]), 1000).unwrap();
        assert!(run.peak_octets > 0);
        let mut endless = Command::new("sh");
        let error = measure_within(endless.args(["-c", "while :; do :; done"]), 1).unwrap_err();
        assert_eq!(error.to_string(), "stopped after 1 s of CPU time");
    }

    #[test]
    fn runs_add_up() {
        let run = |n: u64| Run {
            wall: Duration::from_secs(n),
            cpu: Duration::from_secs(2 * n),
            peak_octets: n,
        };
        let both = run(3).and(run(1));
        assert_eq!(both.wall, Duration::from_secs(4));
        assert_eq!(both.cpu, Duration::from_secs(8));
        assert_eq!(both.peak_octets, 3);
    }
}
