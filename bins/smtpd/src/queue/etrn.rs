//! ETRN (RFC 1985): a client asks for what waits for a node.
//!
//! Any client may, and each run reads the whole queue: so there is one at a time, they take no
//! more than a part of the time, and one for the same node comes once in a while. Silent hosts
//! are tried again for the messages of that node only.

use std::sync::PoisonError;
use std::time::{Duration, Instant};

use super::envelope::Envelope;
use super::{Node, Queue};

/// How long a node is not run for again.
const REST: Duration = Duration::from_secs(60);
/// How long it is remembered that a node was run for: no host rests for longer.
const MEMORY: Duration = Duration::from_secs(24 * 3600);
/// Most nodes of which that is remembered.
const MAX_NODES: usize = 1_000;
/// After a run there is none for so many times as long as it took.
const PAUSE: u32 = 9;

/// What came of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Asked {
    /// So many messages are tried.
    Run(usize),
    /// They were tried a moment ago.
    Lately,
    /// Others are being run for, or were just now.
    Busy,
}

/// The nodes that were run for.
#[derive(Debug, Default)]
pub(super) struct Nodes {
    asked: Vec<(Node, Instant)>,
    /// When the next run may begin; none while there is one.
    next: Next,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Next {
    #[default]
    Now,
    Runs,
    From(Instant),
}

impl Nodes {
    /// Begins a run for this node, or says why not.
    fn begin(&mut self, node: &Node, now: Instant) -> Result<(), Asked> {
        let ago = |at: &Instant| now.saturating_duration_since(*at);
        if self.asked.iter().any(|(n, at)| n == node && ago(at) < REST) {
            return Err(Asked::Lately);
        }
        match self.next {
            Next::Runs => return Err(Asked::Busy),
            Next::From(at) if now < at => return Err(Asked::Busy),
            Next::Now | Next::From(_) => {}
        }
        self.next = Next::Runs;
        self.asked.retain(|(n, at)| n != node && ago(at) < MEMORY);
        if self.asked.len() >= MAX_NODES {
            self.asked.remove(0);
        }
        self.asked.push((node.clone(), now));
        Ok(())
    }

    fn end(&mut self, took: Duration, now: Instant) {
        self.next = Next::From(now + took * PAUSE);
    }
}

impl Queue {
    /// Makes what waits for this node due. This reads every envelope.
    pub fn run_for(&self, node: &Node) -> Asked {
        let begun = Instant::now();
        if let Err(asked) = self.nodes().begin(node, begun) {
            return asked;
        }
        let count = self.make_due(|envelope| node.is_awaited_by(envelope));
        let now = Instant::now();
        self.nodes().end(now - begun, now);
        Asked::Run(count)
    }

    /// When somebody last asked for a run that this message belongs to.
    #[must_use]
    pub fn run_asked_for(&self, envelope: &Envelope) -> Option<Instant> {
        let nodes = self.nodes();
        let mine = nodes
            .asked
            .iter()
            .filter(|(n, _)| n.is_awaited_by(envelope));
        mine.map(|(_, at)| *at).chain(self.run_asked()).max()
    }

    fn nodes(&self) -> std::sync::MutexGuard<'_, Nodes> {
        self.nodes.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_node_is_run_for_once_in_a_while_and_runs_leave_time() {
        let (mut nodes, now) = (Nodes::default(), Instant::now());
        let node = |name: &str| Node::parse(name.as_bytes()).unwrap();
        let second = Duration::from_secs(1);
        assert_eq!(nodes.begin(&node("a.example"), now), Ok(()));
        assert_eq!(nodes.begin(&node("b.example"), now), Err(Asked::Busy));
        nodes.end(second, now + second);
        assert_eq!(nodes.begin(&node("A.example"), now), Err(Asked::Lately));
        let b = node("b.example");
        assert_eq!(nodes.begin(&b, now + 9 * second), Err(Asked::Busy));
        assert_eq!(nodes.begin(&b, now + 10 * second), Ok(()));
        nodes.end(Duration::ZERO, now + 10 * second);
        assert_eq!(nodes.begin(&node("a.example"), now + REST), Ok(()));
        for number in 0..2 * MAX_NODES {
            nodes.end(Duration::ZERO, now);
            let _ = nodes.begin(&node(&format!("{number}.example")), now);
        }
        assert_eq!(nodes.asked.len(), MAX_NODES);
    }
}
