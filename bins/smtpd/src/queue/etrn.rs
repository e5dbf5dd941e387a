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
/// The part of the time that runs may take: one of so many.
const PART: u32 = 10;
/// As much of it as is saved up while nobody asks.
const SAVINGS: Duration = Duration::from_secs(1);

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

/// The nodes that were run for, and the time that it took.
#[derive(Debug, Default)]
pub(super) struct Nodes {
    asked: Vec<(Node, Instant)>,
    /// From when on time is saved up for the next run; later than now when more was used.
    since: Option<Instant>,
}

impl Nodes {
    /// Begins a run for this node, or says why not.
    fn begin(&mut self, node: &Node, now: Instant) -> Result<(), Asked> {
        let ago = |at: &Instant| now.saturating_duration_since(*at);
        if self.asked.iter().any(|(n, at)| n == node && ago(at) < REST) {
            return Err(Asked::Lately);
        }
        if self.since.is_some_and(|since| since > now) {
            return Err(Asked::Busy);
        }
        self.asked.retain(|(n, at)| n != node && ago(at) < MEMORY);
        if self.asked.len() >= MAX_NODES {
            self.asked.remove(0);
        }
        self.asked.push((node.clone(), now));
        Ok(())
    }

    fn end(&mut self, took: Duration, now: Instant) {
        let most = now.checked_sub(SAVINGS * PART).unwrap_or(now);
        let since = self.since.map_or(most, |since| since.max(most));
        self.since = Some(since + took * PART);
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

    /// Whether somebody has asked since then for a run that this message belongs to.
    #[must_use]
    pub fn is_run_asked_since(&self, envelope: &Envelope, since: Instant) -> bool {
        if self.run_asked().is_some_and(|asked| asked > since) {
            return true;
        }
        let lately: Vec<Node> = {
            let nodes = self.nodes();
            let lately = nodes.asked.iter().filter(|(_, asked)| *asked > since);
            lately.map(|(node, _)| node.clone()).collect()
        };
        lately.iter().any(|node| node.is_awaited_by(envelope))
    }

    fn nodes(&self) -> std::sync::MutexGuard<'_, Nodes> {
        self.nodes.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::super::envelope::QueuedRecipient;
    use super::*;

    #[test]
    fn a_node_is_run_for_once_in_a_while_and_runs_leave_time() {
        let (mut nodes, now) = (Nodes::default(), Instant::now());
        let node = |name: &str| Node::parse(name.as_bytes()).unwrap();
        let second = Duration::from_secs(1);
        let (a, b, c) = (node("a.example"), node("b.example"), node("c.example"));
        assert_eq!(nodes.begin(&a, now), Ok(()));
        nodes.end(second / 2, now);
        assert_eq!(nodes.begin(&node("A.example"), now), Err(Asked::Lately));
        // A second was saved up, and is used up by two of them.
        assert_eq!(nodes.begin(&b, now), Ok(()));
        nodes.end(second, now);
        assert_eq!(nodes.begin(&c, now), Err(Asked::Busy));
        assert_eq!(nodes.begin(&c, now + 4 * second), Err(Asked::Busy));
        assert_eq!(nodes.begin(&c, now + 5 * second), Ok(()));
        nodes.end(Duration::ZERO, now + 5 * second);
        assert_eq!(nodes.begin(&a, now + REST), Ok(()));
        let now = now + 2 * REST;
        for number in 0..2 * MAX_NODES {
            nodes.end(Duration::ZERO, now);
            let _ = nodes.begin(&node(&format!("{number}.example")), now);
        }
        assert_eq!(nodes.asked.len(), MAX_NODES);
    }

    #[test]
    fn a_run_is_for_the_messages_of_its_node() {
        let dir = tempfile::tempdir().unwrap();
        let queue = Queue::open(dir.path()).unwrap();
        let to = |address: &str| Envelope {
            recipients: vec![QueuedRecipient {
                address: address.into(),
                ..QueuedRecipient::default()
            }],
            ..Envelope::default()
        };
        let (far, other) = (to("joe@far.example"), to("joe@other.example"));
        let before = Instant::now();
        let asked = queue.run_for(&Node::parse(b"far.example").unwrap());
        assert_eq!(asked, Asked::Run(0));
        assert!(queue.is_run_asked_since(&far, before));
        assert!(!queue.is_run_asked_since(&other, before));
        assert!(!queue.is_run_asked_since(&far, Instant::now()));
        queue.note_run();
        assert!(queue.is_run_asked_since(&other, before));
        queue.close();
    }
}
