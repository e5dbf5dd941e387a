//! A day's life: 200 users, lists, virtual domains, hosts that fail, maps rebuilt every
//! second, a certificate renewed, and the server killed twice with SIGKILL. No message
//! that was answered with 250 is lost, none is delivered twice beyond those in flight at
//! a kill, and every sender of an undeliverable one hears of it once.
//!
//! `SMTPD_DAY_SECONDS` makes the day longer than its 12 seconds, `SMTPD_DAY_KILLS=0`
//! leaves the server alone: then nothing at all may come twice.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    missing_docs
)]

mod hosts;
#[path = "../machine/mod.rs"]
mod machine;
mod site;
mod traffic;

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU16, Ordering};
use std::time::Duration;

use machine::messages;
use site::USERS;
use traffic::Sent;

const CLIENTS: usize = 6;
/// Messages tried at one time, and copies of each in flight at one time.
const IN_FLIGHT: usize = 8 * 4;

#[test]
fn a_day() {
    let number = |name: &str, other: u64| {
        let value = std::env::var(name).ok();
        value.and_then(|v| v.parse().ok()).unwrap_or(other)
    };
    let seconds = number("SMTPD_DAY_SECONDS", 12);
    let kills = number("SMTPD_DAY_KILLS", 2);
    let hosts = site::Hosts::start();
    let mut machine = site::lay_out(&hosts);
    machine.start(&["-q1s"]);
    let over = Arc::new(AtomicBool::new(false));
    let port = Arc::new(AtomicU16::new(machine.port()));
    let maps = site::rebuild_maps(&machine, Arc::clone(&over));
    let clients: Vec<_> = (0..CLIENTS)
        .map(|client| {
            let (over, port) = (Arc::clone(&over), Arc::clone(&port));
            std::thread::spawn(move || traffic::run(client, &port, &over))
        })
        .collect();
    let part = Duration::from_millis(seconds * 1000 / 4);
    std::thread::sleep(part);
    machine.write("open/up", "");
    hosts.smart.go_away();
    for _ in 0..kills {
        machine.kill();
        machine.start(&["-q1s"]);
        port.store(machine.port(), Ordering::Relaxed);
        std::thread::sleep(part);
    }
    hosts.smart.come_back();
    let before = site::certificate_seen(&machine);
    site::renew_certificate(&machine);
    let after = site::certificate_seen(&machine);
    assert_ne!(before, after, "the new certificate counts at once");
    std::thread::sleep(part);
    over.store(true, Ordering::Relaxed);
    let mut sent: Vec<Sent> = Vec::new();
    for client in clients {
        sent.extend(client.join().unwrap());
    }
    let rebuilds = maps.join().unwrap();
    assert!(rebuilds as u64 >= seconds / 2, "{rebuilds} rebuilds");
    machine.wait_for_empty_queue();
    let twice = judge(&machine, &hosts, &sent);
    let most = usize::try_from(kills).unwrap() * IN_FLIGHT;
    assert!(twice <= most, "{twice} copies came twice");
}

/// Compares what arrived with what was sent; how many copies came twice.
fn judge(machine: &machine::Machine, hosts: &site::Hosts, sent: &[Sent]) -> usize {
    let accepted = sent.iter().filter(|s| s.accepted).count();
    assert!(accepted > 100, "only {accepted} accepted");
    let (mut copies, mut notices) = (HashMap::new(), HashMap::new());
    for user in (0..USERS).map(site::user) {
        let mailbox = machine.mailbox(&user);
        for message in messages(&mailbox) {
            if message.contains("\nAuto-Submitted: auto-generated") {
                let id = traffic::field(message, "Message-Id").unwrap();
                // The message that failed comes back in the last part.
                let about = message.match_indices("\nSubject: message ").last();
                let (at, _) = about.unwrap_or_else(|| panic!("about nothing: {message}"));
                let number = traffic::number(&message[at + 1..]).unwrap();
                let seen: &mut Vec<String> = notices.entry((user.clone(), number)).or_default();
                seen.push(id.to_owned());
            } else if let Some(number) = traffic::whole(message) {
                *copies.entry((user.clone(), number)).or_insert(0usize) += 1;
            }
        }
    }
    let elsewhere = [
        ("program", site::taken_by_programs(machine)),
        ("smart", hosts.smart.texts()),
        ("grey", hosts.grey.texts()),
        ("drops", hosts.drops.texts()),
    ];
    for (reader, texts) in elsewhere {
        for number in texts.iter().filter_map(|text| traffic::whole(text)) {
            *copies.entry((reader.to_owned(), number)).or_insert(0) += 1;
        }
    }
    let mut twice = 0;
    for message in sent {
        for reader in &message.readers {
            let count = copies
                .remove(&(reader.clone(), message.number))
                .unwrap_or(0);
            if message.accepted {
                assert!(count > 0, "lost: {message:?} for {reader}");
            }
            twice += count.saturating_sub(1);
        }
        for reader in &message.told {
            let heard = notices
                .remove(&(reader.clone(), message.number))
                .unwrap_or_default();
            let distinct: HashSet<&String> = heard.iter().collect();
            if message.accepted {
                assert_eq!(distinct.len(), 1, "{reader} of {message:?}: {heard:?}");
            }
            assert!(distinct.len() <= 1, "{reader} of {message:?}: {heard:?}");
            twice += heard.len().saturating_sub(distinct.len());
        }
    }
    assert!(copies.is_empty(), "for nobody: {copies:?}");
    assert!(notices.is_empty(), "told without a reason: {notices:?}");
    eprintln!(
        "{accepted} of {} accepted, {twice} copies twice",
        sent.len()
    );
    twice
}
