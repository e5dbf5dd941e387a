//! What is sent during the day, and what must come of it.

use std::sync::atomic::{AtomicBool, AtomicU16, Ordering};
use std::time::Duration;

use crate::machine::send;
use crate::site::{LISTS, members, owner, user};

/// A message, and what must come of it if it was accepted.
#[derive(Debug)]
pub(crate) struct Sent {
    pub(crate) number: usize,
    /// Answered with 250. If not, nobody knows: the answer may have been lost.
    pub(crate) accepted: bool,
    /// Whose mailboxes it must be in; `program` is the one behind `later`, and hosts have
    /// theirs.
    pub(crate) readers: Vec<String>,
    /// Who must hear once that some of it failed.
    pub(crate) told: Vec<String>,
}

/// Sends messages until the day is over.
pub(crate) fn run(client: usize, port: &AtomicU16, over: &AtomicBool) -> Vec<Sent> {
    let mut sent = Vec::new();
    let mut number = client * 100_000;
    while !over.load(Ordering::Relaxed) {
        number += 1;
        let (from, to, mut message) = choose(number);
        let to: Vec<&str> = to.iter().map(String::as_str).collect();
        // Every fiftieth is too large for the store and gets a file of its own.
        let filler = "x".repeat(if number.is_multiple_of(50) { 70 } else { 0 });
        let filler = format!("{filler}\n").repeat(if filler.is_empty() { 1 } else { 1500 });
        let text = format!("Subject: message {number}\n\n{filler}end {number}");
        match send(port.load(Ordering::Relaxed), &from, &to, &text) {
            Ok(_) => message.accepted = true,
            // The server is being killed or started.
            Err(_) => std::thread::sleep(Duration::from_millis(20)),
        }
        sent.push(message);
        std::thread::sleep(Duration::from_millis(10));
    }
    sent
}

/// Sender, recipients, and what must come of it.
fn choose(number: usize) -> (String, Vec<String>, Sent) {
    let from = user(number * 7);
    let local = |name: &str| format!("{name}@test.example");
    let list = number % LISTS;
    let (to, readers, told) = match number % 14 {
        0 => (vec![local("refuses")], vec![], vec![from.clone()]),
        1 => (
            vec![local(&format!("list{list}"))],
            members(list),
            vec![owner(list)],
        ),
        2 => (vec!["sales@shop.example".into()], vec!["u5".into()], vec![]),
        3 => (
            vec!["anybody@shop.example".into()],
            members(1),
            vec![owner(1)],
        ),
        4 => (vec![local("later")], vec!["program".into()], vec![]),
        5 => {
            let (a, b) = (user(number * 3), user(number * 3 + 1));
            let to = vec![local(&a), local("refuses"), local(&b)];
            (to, vec![a, b], vec![from.clone()])
        }
        6 => (
            vec![format!("x{number}@far.example")],
            vec!["smart".into()],
            vec![],
        ),
        7 => (
            vec![format!("x{number}@grey.example")],
            vec!["grey".into()],
            vec![],
        ),
        8 => (
            vec![format!("x{number}@drops.example")],
            vec!["drops".into()],
            vec![],
        ),
        9 => {
            let reader = user(number * 5);
            let to = vec![format!("bad{number}@far.example"), local(&reader)];
            (to, vec![reader], vec![from.clone()])
        }
        _ => {
            let reader = user(number * 11);
            (vec![local(&reader)], vec![reader], vec![])
        }
    };
    let message = Sent {
        number,
        accepted: false,
        readers,
        told,
    };
    (local(&from), to, message)
}

/// The number of a message that has come whole.
pub(crate) fn whole(message: &str) -> Option<usize> {
    let number = number(message)?;
    let end = format!("\nend {number}\n");
    message.contains(&end).then_some(number)
}

/// The number in the Subject field.
pub(crate) fn number(message: &str) -> Option<usize> {
    field(message, "Subject")?
        .strip_prefix("message ")?
        .parse()
        .ok()
}

/// The value of the first field of this name.
pub(crate) fn field<'a>(message: &'a str, name: &str) -> Option<&'a str> {
    let mut lines = message.lines();
    let value = lines.find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
    value.map(str::trim)
}
