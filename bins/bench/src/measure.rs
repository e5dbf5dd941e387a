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
    let (status, usage) = wait(child)?;
    let wall = begun.elapsed();
    if status != 0 {
        return Err(io::Error::other(format!(
            "{command:?}: ended with status {status:#x}"
        )));
    }
    Ok(Run {
        wall,
        cpu: time(usage.ru_utime) + time(usage.ru_stime),
        peak_octets: u64::try_from(usage.ru_maxrss).unwrap_or(0) * 1024,
    })
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
