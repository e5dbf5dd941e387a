//! What a process and all that descend from it use of processors and of memory.

use std::collections::HashMap;
use std::fs;
use std::io;
use std::time::Duration;

/// Ticks of proc(5) a second, the same on all Linux architectures in use.
const TICKS: u64 = 100;

/// One line of `/proc/PID/stat`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Process {
    parent: u32,
    ticks: u64,
}

/// User and system time of the process `root` and of its descendants.
pub(crate) fn cpu(root: u32) -> io::Result<Duration> {
    let all = processes()?;
    let family = all.iter().filter(|(pid, _)| descends(&all, **pid, root));
    let ticks: u64 = family.map(|(_, process)| process.ticks).sum();
    Ok(Duration::from_millis(ticks * 1000 / TICKS))
}

/// The memory of the process `root` and of its descendants, in octets. What several share
/// counts once (proportional set sizes, proc(5)).
pub(crate) fn memory(root: u32) -> io::Result<u64> {
    let all = processes()?;
    let family = all.keys().filter(|pid| descends(&all, **pid, root));
    let kib = family.filter_map(|pid| {
        let text = fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).ok()?;
        let line = text.lines().find_map(|line| line.strip_prefix("Pss:"))?;
        line.trim().strip_suffix(" kB")?.parse::<u64>().ok()
    });
    Ok(kib.sum::<u64>() * 1024)
}

fn processes() -> io::Result<HashMap<u32, Process>> {
    let mut all = HashMap::new();
    for entry in fs::read_dir("/proc")? {
        let name = entry?.file_name();
        let Some(pid) = name.to_str().and_then(|n| n.parse::<u32>().ok()) else {
            continue;
        };
        // One that has ended meanwhile counts no more.
        let stat = fs::read_to_string(format!("/proc/{pid}/stat"));
        if let Some(process) = stat.ok().as_deref().and_then(parse) {
            all.insert(pid, process);
        }
    }
    Ok(all)
}

/// The fields follow the name in parentheses, which may hold anything.
fn parse(stat: &str) -> Option<Process> {
    let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_whitespace().collect();
    let number = |at: usize| fields.get(at)?.parse::<u64>().ok();
    Some(Process {
        parent: u32::try_from(number(1)?).ok()?,
        // Its own, and that of children that have ended.
        ticks: number(11)? + number(12)? + number(13)? + number(14)?,
    })
}

fn descends(all: &HashMap<u32, Process>, mut pid: u32, root: u32) -> bool {
    // No chain is longer than there are processes.
    for _ in 0..=all.len() {
        if pid == root {
            return true;
        }
        match all.get(&pid) {
            Some(process) => pid = process.parent,
            None => return false,
        }
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_come_after_the_name() {
        let stat = "12 (a b) c) S 7 12 12 0 -1 4194560 100 0 0 0 30 12 7 1 20 0 1 0 5 6 7";
        let want = Process {
            parent: 7,
            ticks: 50,
        };
        assert_eq!(parse(stat), Some(want));
        assert_eq!(parse("12 (a)"), None);
        assert!(cpu(std::process::id()).is_ok());
        assert!(memory(std::process::id()).unwrap() > 100_000);
    }

    #[test]
    fn descendants_count_and_others_do_not() {
        let process = |parent, ticks| Process { parent, ticks };
        let all = HashMap::from([
            (1, process(0, 1000)),
            (2, process(1, 1)),
            (3, process(2, 10)),
            (4, process(3, 100)),
            (5, process(1, 10_000)),
            (6, process(6, 10_000)),
        ]);
        let family = |pid: &u32| descends(&all, *pid, 2);
        assert_eq!((1..=6).filter(family).collect::<Vec<_>>(), [2, 3, 4]);
    }
}
