//! A name server for tests: answers from a zone, on a free port of loopback.

use std::collections::HashMap;
use std::net::{Ipv4Addr, UdpSocket};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

/// Runs until it is dropped.
pub(crate) struct NameServer {
    pub(crate) port: u16,
    zone: Arc<Mutex<HashMap<String, Vec<String>>>>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl NameServer {
    /// Serves `"name TYPE": [answers]`; `TEMP` as an answer is SERVFAIL. A `CNAME` answers
    /// whatever type is asked for.
    pub(crate) fn start(zone: HashMap<String, Vec<String>>) -> Self {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        socket
            .set_read_timeout(Some(Duration::from_millis(50)))
            .unwrap();
        let port = socket.local_addr().unwrap().port();
        let stop = Arc::new(AtomicBool::new(false));
        let ended = Arc::clone(&stop);
        let zone = Arc::new(Mutex::new(zone));
        let served = Arc::clone(&zone);
        let thread = std::thread::spawn(move || {
            let mut query = [0; 1500];
            while !ended.load(Ordering::Relaxed) {
                let Ok((octets, from)) = socket.recv_from(&mut query) else {
                    continue;
                };
                if let Some(answer) = answer(&served.lock().unwrap(), &query[..octets]) {
                    let _ = socket.send_to(&answer, from);
                }
            }
        });
        NameServer {
            port,
            zone,
            stop,
            thread: Some(thread),
        }
    }

    /// From now on it says this.
    #[allow(dead_code)] // Not every set of tests needs it.
    pub(crate) fn change(&self, key: &str, values: &[&str]) {
        let values = values.iter().map(|v| (*v).to_owned()).collect();
        self.zone.lock().unwrap().insert(key.to_owned(), values);
    }
}

impl Drop for NameServer {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        let _ = self.thread.take().unwrap().join();
    }
}

fn answer(zone: &HashMap<String, Vec<String>>, query: &[u8]) -> Option<Vec<u8>> {
    let (mut at, mut labels) = (12, Vec::new());
    while *query.get(at)? != 0 {
        let length = usize::from(query[at]);
        labels.push(String::from_utf8_lossy(query.get(at + 1..=at + length)?).to_lowercase());
        at += length + 1;
    }
    let kind = u16::from_be_bytes([*query.get(at + 1)?, *query.get(at + 2)?]);
    let name = labels.join(".");
    let word = match kind {
        1 => "A",
        12 => "PTR",
        15 => "MX",
        16 => "TXT",
        28 => "AAAA",
        _ => "?",
    };
    let get = |word: &str| zone.get(&format!("{name} {word}"));
    let temporary = |found: Option<&Vec<String>>| found.is_some_and(|f| f.as_slice() == ["TEMP"]);
    let known = zone.keys().any(|key| key.split(' ').next() == Some(&name));
    let failed = temporary(get(word)) || temporary(get("*"));
    let code = if failed {
        2
    } else if known {
        0
    } else {
        3
    };
    let mut records = Vec::new();
    let mut count = 0u16;
    for name in get("CNAME").into_iter().flatten().filter(|_| !failed) {
        let data = wire_name(name);
        records.extend([0xc0, 0x0c, 0, 5, 0, 1]);
        records.extend(0u32.to_be_bytes());
        records.extend((data.len() as u16).to_be_bytes());
        records.extend(data);
        count += 1;
    }
    for text in get(word).into_iter().flatten().filter(|_| !failed) {
        let data = match kind {
            1 => text.parse::<Ipv4Addr>().unwrap().octets().to_vec(),
            12 => wire_name(text),
            15 => {
                let (preference, host) = text.split_once(' ').unwrap();
                let mut data = preference.parse::<u16>().unwrap().to_be_bytes().to_vec();
                data.extend(wire_name(host));
                data
            }
            _ => continue,
        };
        records.extend([0xc0, 0x0c]);
        records.extend(&query[at + 1..at + 5]);
        records.extend(60u32.to_be_bytes());
        records.extend((data.len() as u16).to_be_bytes());
        records.extend(data);
        count += 1;
    }
    let mut out = query[..2].to_vec();
    out.extend([0x85, 0x80 | code, 0, 1]);
    out.extend(count.to_be_bytes());
    out.extend([0; 4]);
    out.extend(&query[12..at + 5]);
    out.extend(records);
    Some(out)
}

fn wire_name(name: &str) -> Vec<u8> {
    let mut out = Vec::new();
    for label in name.split('.').filter(|label| !label.is_empty()) {
        out.push(label.len() as u8);
        out.extend(label.as_bytes());
    }
    out.push(0);
    out
}
