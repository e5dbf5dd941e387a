//! What the demo tries, and what it should come to.

use std::fs::OpenOptions;
use std::io::Write;
use std::path::Path;

use crate::tables;

use super::client::Client;
use super::screen::{Screen, Unwritten};
use super::sink::Sink;
use super::{Failure, Server};

/// A client without rights: mail from 127.0.0.1 is relayed.
const STRANGER: &str = "127.0.0.2";

/// Whether everything came out as it should.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    AllAsExpected,
    SomeNot,
}

/// One row of the table.
struct Row {
    tried: &'static str,
    expected: &'static str,
    came: String,
}

/// Tries everything, and prints a table.
pub(super) fn all(
    root: &Path,
    server: &Server,
    sink: &Sink,
    screen: &mut Screen,
) -> Result<Verdict, Failure> {
    let mut rows = Vec::new();
    let mut row = |tried, expected, came: String| {
        rows.push(Row {
            tried,
            expected,
            came,
        })
    };

    let mut client = Client::connect(STRANGER, server.port)?.start_tls(root)?;
    row(
        "log in under TLS: AUTH PLAIN, alice",
        "235",
        client.log_in("alice", "wonderland")?,
    );
    let sent = client.send(
        "alice@demo.example",
        "archive@demo.example",
        "Subject: one\n\nhello",
    )?;
    row("send to an alias: archive@demo.example", "250", sent);
    row(
        "  ... and it is in the mailbox",
        "delivered",
        in_mailbox(root, "Subject: one"),
    );
    let sent = client.send(
        "alice@demo.example",
        "sales@shop.example",
        "Subject: two\n\nhello",
    )?;
    row("send to a virtual user: sales@shop.example", "250", sent);
    row(
        "  ... and it is in the same mailbox",
        "delivered",
        in_mailbox(root, "Subject: two"),
    );
    let sent = client.send(
        "alice@demo.example",
        "bob@friend.example",
        "Subject: away\n\nhello",
    )?;
    row("send to another host: bob@friend.example", "250", sent);
    row(
        "  ... and its server has it",
        "relayed",
        sink.has("Subject: away"),
    );
    client.say("RSET")?;
    let refused = client.send("alice@demo.example", "nobody@shop.example", "x")?;
    row("send to the catch-all of the shop", "553", refused);

    client.say("RSET")?;
    let sent = client.send(
        "alice@demo.example",
        "closed@demo.example",
        "Subject: four\n\nhello",
    )?;
    row("send to a list that takes nothing more", "250", sent);
    row(
        "  ... and alice hears of it",
        "delivered",
        in_mailbox(root, "Subject: Returned mail"),
    );

    let mut stranger = Client::connect(STRANGER, server.port)?.start_tls(root)?;
    let refused = stranger.send("offer@spam.example", "archive@demo.example", "x")?;
    row("a sender that the access map rejects", "550", refused);
    let refused = stranger.send("someone@friend.example", "victim@friend.example", "x")?;
    row("relaying for a stranger", "550", refused);

    let mut clear = Client::connect(STRANGER, server.port)?;
    let refused = clear.send("someone@friend.example", "archive@demo.example", "x")?;
    row("MAIL without TLS (TLS_Clt: ENCR:128)", "454", refused);

    let mut before = Client::connect(STRANGER, server.port)?.start_tls(root)?;
    let sent = before.send(
        "news@soon.example",
        "archive@demo.example",
        "Subject: three\n\nhello",
    )?;
    row("news@soon.example, not in the access map", "250", sent);
    let access = root.join("etc/mail/access");
    let mut source = OpenOptions::new().append(true).open(&access)?;
    writeln!(source, "From:soon.example\tERROR:5.7.1:550 Not any more")?;
    drop(source);
    tables::build_table(&access)?;
    let refused = before.send("news@soon.example", "archive@demo.example", "x")?;
    row(
        "  ... after the map was rebuilt, same connection",
        "550",
        refused,
    );

    let verdict = print(&rows, screen)?;
    explain(server, screen)?;
    show_notice(root, screen)?;
    Ok(verdict)
}

fn print(rows: &[Row], screen: &mut Screen) -> Result<Verdict, Unwritten> {
    let mut verdict = Verdict::AllAsExpected;
    screen.line(format_args!("{:<50} {:<9} came to", "tried", "expected"))?;
    for row in rows {
        let mark = if row.came.starts_with(row.expected) {
            "ok "
        } else {
            verdict = Verdict::SomeNot;
            "NOT"
        };
        screen.line(format_args!(
            "{:<50} {:<9} {mark} {}",
            row.tried, row.expected, row.came
        ))?;
    }
    Ok(verdict)
}

/// Why the sender was refused: every probe of that decision, from the server's log.
fn explain(server: &Server, screen: &mut Screen) -> Result<(), Unwritten> {
    let Some(line) = server.logged(&["check_mail", "spam.example", "reject="]) else {
        return Ok(());
    };
    screen.line(format_args!(
        "\nWhy offer@spam.example was refused (from the log):"
    ))?;
    let probes = line
        .get("trace")
        .and_then(|t| t.as_array())
        .into_iter()
        .flatten();
    for probe in probes.filter_map(|p| p.as_str()) {
        screen.line(format_args!("  {probe}"))?;
    }
    Ok(())
}

/// What alice heard: the part of the notice that is for people.
fn show_notice(root: &Path, screen: &mut Screen) -> Result<(), Unwritten> {
    let mailbox = std::fs::read_to_string(root.join("etc/mail/archive.mbox")).unwrap_or_default();
    let Some((_, notice)) = mailbox.split_once("\nSubject: Returned mail") else {
        return Ok(());
    };
    screen.line(format_args!(
        "\nWhat alice heard about closed@demo.example:"
    ))?;
    let lines = notice.lines();
    let lines = lines.skip_while(|line| !line.starts_with("The original message"));
    for line in lines.take_while(|line| !line.starts_with("--")) {
        screen.line(format_args!("  {line}"))?;
    }
    Ok(())
}

/// Waits a moment for the text to be there.
fn in_mailbox(root: &Path, text: &str) -> String {
    for _ in 0..100 {
        let found = std::fs::read_to_string(root.join("etc/mail/archive.mbox"));
        if found.is_ok_and(|t| t.contains(text)) {
            return "delivered".into();
        }
        std::thread::sleep(std::time::Duration::from_millis(50));
    }
    "not delivered within 5 seconds".into()
}
