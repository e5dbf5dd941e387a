//! Copies whose domains have silent name servers.

use std::net::UdpSocket;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::*;

/// A world whose name server knows nothing for now; `asked` counts what it is asked.
fn world_without_dns(root: &Path, asked: &Arc<AtomicUsize>) -> Arc<World> {
    let server = UdpSocket::bind("127.0.0.1:0").unwrap();
    let port = server.local_addr().unwrap().port();
    let asked = Arc::clone(asked);
    std::thread::spawn(move || {
        let mut packet = [0; 1500];
        // It ends with the test program.
        while let Ok((size, from)) = server.recv_from(&mut packet) {
            asked.fetch_add(1, Ordering::SeqCst);
            // A response, SERVFAIL.
            packet[2] |= 0x80;
            packet[3] = 0x82;
            let _ = server.send_to(&packet[..size], from);
        }
    });
    fs::create_dir_all(root.join("etc/mail")).unwrap();
    let conf = format!("nameserver [127.0.0.1]:{port}\noptions timeout:5 attempts:1\n");
    fs::write(root.join("etc/resolv.conf"), conf).unwrap();
    fs::write(root.join("etc/mail/service.switch"), "hosts files dns\n").unwrap();
    world(root, "", "")
}

#[tokio::test]
async fn a_silent_name_server_is_asked_once_for_all_copies() {
    let root = tempfile::tempdir().unwrap();
    let asked = Arc::new(AtomicUsize::new(0));
    let world = world_without_dns(root.path(), &asked);
    let mut counts = Vec::new();
    for to_whom in [
        &["x@a.example"][..],
        &["x@b.example", "y@b.example", "z@B.example"],
    ] {
        let mut envelope = waiting(to_whom);
        asked.store(0, Ordering::SeqCst);
        let before = copies(&envelope);
        attempt(&world, &mut envelope).await;
        assert_eq!(copies(&envelope), before);
        counts.push(asked.load(Ordering::SeqCst));
    }
    assert!(counts[0] > 0);
    assert_eq!(counts[0], counts[1]);
}

/// A message whose recipients were expanded while names were known.
fn waiting(to_whom: &[&str]) -> Envelope {
    let mut envelope = to(to_whom);
    for (at, recipient) in envelope.recipients.iter_mut().enumerate() {
        recipient.expanded = crate::queue::Expanded::Yes;
        let address = recipient.address.shown();
        envelope.targets.push(QueuedTarget {
            recipient: at,
            mailer: "esmtp".into(),
            host: Octets::from(address.rsplit('@').next().unwrap_or_default()),
            user: recipient.address.clone(),
            routed_by: RoutedBy::Recipient,
            ..QueuedTarget::default()
        });
    }
    envelope
}

#[tokio::test]
async fn a_table_for_a_domain_whose_name_servers_are_silent_is_followed() {
    let root = tempfile::tempdir().unwrap();
    let root = root.path();
    let world = world_without_dns(root, &Arc::new(AtomicUsize::new(0)));
    let mut envelope = waiting(&["x@dead.example", "y@virt.example", "z@nick.example"]);
    // By the name that its domain had.
    envelope.targets[2].user = Octets::from("z@canonical.example");
    envelope.targets[2].host = Octets::from("[192.0.2.9]");
    attempt(&world, &mut envelope).await;
    let stored = [
        "esmtp dead.example x@dead.example",
        "esmtp virt.example y@virt.example",
        "esmtp [192.0.2.9] z@canonical.example",
    ];
    assert_eq!(copies(&envelope), stored);
    let entries = "dead.example\tesmtp:[192.0.2.1]\nnick.example\tesmtp:[192.0.2.1]\n";
    table(root, "mailertable", entries);
    table(
        root,
        "virtusertable",
        "y@virt.example\terror:5.1.1:550 gone\n",
    );
    attempt(&world, &mut envelope).await;
    let moved = ["esmtp [192.0.2.1] x@dead.example", stored[1], stored[2]];
    assert_eq!(copies(&envelope), moved);
    // Without the entry its host would be its own again, if it has no other name now.
    table(root, "mailertable", "");
    attempt(&world, &mut envelope).await;
    assert_eq!(copies(&envelope), moved);
}
