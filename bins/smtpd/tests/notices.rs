//! Who hears what: notices end to end, from the client's last dot to the sender's mailbox.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    missing_docs
)]

#[path = "day/hosts.rs"]
mod hosts;
mod machine;

use hosts::{Habit, Host};
use machine::{Machine, messages};

const ANN: &str = "ann@test.example";

fn users() -> Vec<String> {
    ["ann", "bob", "root", "owner"].map(str::to_owned).to_vec()
}

fn machine(aliases: &str, mc: &str) -> Machine {
    Machine::new(&users(), &format!("postmaster: root\n{aliases}"), mc)
}

/// Those of the messages that are notices.
fn notices(mailbox: &str) -> Vec<&str> {
    let all = messages(mailbox).into_iter();
    all.filter(|m| m.contains("\nAuto-Submitted: auto-generated"))
        .collect()
}

fn has(notice: &str, lines: &[&str]) {
    for line in lines {
        assert!(
            notice.contains(&format!("\n{line}")),
            "no {line:?} in {notice}"
        );
    }
}

#[test]
fn the_sender_hears_once_of_what_failed() {
    let mut machine = machine(
        "refuses: \"|echo no room; exit 73\"\nmany: bob, refuses, gone\n",
        "",
    );
    machine.start(&[]);
    machine.send(
        &format!("{ANN} ENVID=my+2Bid RET=HDRS"),
        &[
            "refuses@test.example ORCPT=rfc822;Re+2Bfuses@test.example",
            "many@test.example",
        ],
        "Subject: one\n\nhello",
    );
    let mailbox = machine.mailbox_with("ann", "Auto-Submitted");
    machine.wait_for_empty_queue();
    assert_eq!(notices(&mailbox).len(), 1);
    has(
        notices(&mailbox)[0],
        &[
            "Return-Path: <>\n",
            "Subject: Returned mail: see transcript for details\n",
            "From: Mail Delivery Subsystem <MAILER-DAEMON@mx.test.example>\n",
            "To: <ann@test.example>\n",
            "   ----- The following addresses had permanent fatal errors -----\n",
            "    (reason: Can't create output: no room)\n",
            "    (expanded from: <refuses@test.example>)\n",
            "Original-Envelope-Id: my+id\n",
            "Original-Recipient: rfc822;Re+fuses@test.example\n",
            "Final-Recipient: RFC822; refuses@test.example\nX-Actual-Recipient: X-Unix; |echo no room; exit 73\nAction: failed\nStatus: 5.3.0\n",
            "Final-Recipient: RFC822; many@test.example\nX-Actual-Recipient: rfc822; gone@mx.test.example\nAction: failed\nStatus: 5.1.1\n",
            "Content-Type: text/rfc822-headers\n",
        ],
    );
    assert!(!mailbox.contains("hello"), "RET=HDRS");
    assert!(machine.mailbox("bob").contains("hello"));
    assert!(machine.log().contains(": DSN: "), "{}", machine.log());
}

#[test]
fn notify_decides_and_success_is_told_where_it_is_wanted() {
    let mut machine = machine(
        "refuses: \"|exit 69\"\nlist: bob, ann\nclub: bob, refuses\nowner-club: owner\n",
        "",
    );
    machine.start(&[]);
    let refuses = "refuses@test.example NOTIFY=NEVER";
    machine.send(ANN, &[refuses], "Subject: never\n\nx");
    machine.send(
        ANN,
        &[
            "bob@test.example NOTIFY=SUCCESS,FAILURE",
            "list@test.example NOTIFY=SUCCESS",
        ],
        "Subject: well\n\nx",
    );
    machine.mailbox_with("ann", "Subject: Return receipt");
    machine.send(ANN, &["club@test.example"], "Subject: club\n\nx");
    let owner = machine.mailbox_with("owner", "Auto-Submitted");
    machine.wait_for_empty_queue();
    let mailbox = machine.mailbox("ann");
    assert_eq!(notices(&mailbox).len(), 1, "{mailbox}");
    has(
        notices(&mailbox)[0],
        &[
            "<bob@test.example>  (successfully delivered to mailbox)\n",
            "<list@test.example>  (expanded by mailing list)\n",
            "Final-Recipient: RFC822; list@test.example\nAction: expanded",
            "Final-Recipient: RFC822; bob@test.example\nX-Actual-Recipient: rfc822; bob@mx.test.example\nAction: delivered",
        ],
    );
    assert_eq!(notices(&owner).len(), 1);
    has(
        notices(&owner)[0],
        &["Final-Recipient: RFC822; club@test.example\n"],
    );
    assert!(machine.mailbox("bob").contains("Return-Path: <owner"));
}

#[test]
fn of_the_only_member_of_a_list_its_owner_hears() {
    let mut machine = machine("club: nobody-here\nowner-club: owner\n", "");
    machine.start(&[]);
    machine.send(ANN, &["club@test.example"], "Subject: club\n\nx");
    let owner = machine.mailbox_with("owner", "Auto-Submitted");
    machine.wait_for_empty_queue();
    assert_eq!(machine.mailbox("ann"), "");
    has(
        notices(&owner)[0],
        &[
            "    (expanded from: <club@test.example>)\n",
            "Status: 5.1.1\n",
        ],
    );
}

#[test]
fn a_notice_that_fails_goes_to_the_postmaster_and_then_nowhere() {
    let mut machine = machine(
        "refuses: \"|exit 69\"\n",
        "define(`confDEAD_LETTER_DROP', `/open/dead.letter')dnl\n",
    );
    machine.start(&[]);
    machine.send(
        "refuses@test.example",
        &["refuses@test.example"],
        "Subject: round\n\nx",
    );
    let root = machine.mailbox_with("root", "Subject: Postmaster notify");
    machine.wait_for_empty_queue();
    assert_eq!(notices(&root).len(), 1);
    has(notices(&root)[0], &["To: postmaster\n", "with id "]);
    // Where the postmaster's mail fails too, a line in the log is all that is left.
    machine.aliases("refuses: \"|exit 69\"\npostmaster: refuses\n");
    machine.send("", &["refuses@test.example"], "Subject: last\n\nx");
    machine.wait("line about it", || {
        let text = "savemail: cannot save rejected email anywhere";
        machine.log().contains(text).then_some(())
    });
    machine.wait_for_empty_queue();
    let dead = machine.text("open/dead.letter");
    assert!(dead.starts_with("From MAILER-DAEMON "), "{dead}");
    assert!(dead.contains("\nSubject: last\n"), "{dead}");
}

#[test]
fn the_last_copy_stays_while_it_can_not_be_saved() {
    let mut machine = machine(
        "refuses: \"|exit 69\"\npostmaster: refuses\n",
        "define(`confDEAD_LETTER_DROP', `/open/dead.letter')dnl\n",
    );
    std::fs::create_dir(machine.path("open/dead.letter")).unwrap();
    machine.start(&[]);
    machine.send("", &["refuses@test.example"], "Subject: last\n\nx");
    let stays = "the message stays in the queue";
    machine.wait("line about it", || {
        machine.log().contains(stays).then_some(())
    });
    let listed = machine.wait("message in the queue", || {
        let listed = machine.mailq(&[]);
        listed.contains("Total requests: 1").then_some(listed)
    });
    assert!(!machine.log().contains("savemail"), "{listed}");
    // Over a restart too.
    machine.kill();
    machine.start(&[]);
    std::fs::remove_dir(machine.path("open/dead.letter")).unwrap();
    machine.wait("dead letter", || {
        machine.mailq(&["run"]);
        machine
            .text("open/dead.letter")
            .contains("Subject: last")
            .then_some(())
    });
    machine.wait_for_empty_queue();
    assert_eq!(
        machine
            .text("open/dead.letter")
            .matches("Subject: last")
            .count(),
        1
    );
}

#[test]
fn what_a_forward_file_may_not_name_is_told_of_with_its_line() {
    let mut machine = machine("", "");
    machine.write("etc/shells", "/bin/another\n");
    for (user, list) in [
        ("bob", "# mine\n\"|/bin/tee /open/x\"\n"),
        ("owner", "root, /open/box\nnobody-here\n"),
    ] {
        let path = format!("home/{user}/.forward");
        machine.write(&path, list);
        for path in [&path, &format!("home/{user}")] {
            let _ = std::os::unix::fs::chown(machine.path(path), Some(machine::somebody()), None);
        }
    }
    machine.start(&[]);
    machine.send(ANN, &["bob@test.example"], "Subject: run\n\nx");
    let mailbox = machine.mailbox_with("ann", "Status: 5.7.1");
    let program = "\"|/bin/tee /open/x\"";
    let who = format!("/home/bob/.forward: line 2: {program}...");
    let why = "User bob@mx.test.example doesn't have a valid shell for mailing to programs";
    let of_bob = "Final-Recipient: RFC822; bob@test.example\nX-Actual-Recipient: X-Unix;";
    has(
        notices(&mailbox)[0],
        &[
            &format!(
                "{program}\n    (reason: {who} {why})\n    (expanded from: <bob@test.example>)\n"
            ),
            &format!("550 5.7.1 {who} {why}\n"),
            &format!("{of_bob} {program}\nAction: failed\n"),
        ],
    );
    machine.send(ANN, &["owner@test.example"], "Subject: both\n\nx");
    let mailbox = machine.mailbox_with("ann", "line 2: nobody-here");
    machine.wait_for_empty_queue();
    has(
        notices(&mailbox)[1],
        &[
            "550 5.7.1 /home/owner/.forward: line 1: /open/box... User owner@mx.test.example",
            "X-Actual-Recipient: X-Unix; /open/box\n",
            "550 5.1.1 /home/owner/.forward: line 2: nobody-here... User unknown\n",
        ],
    );
    assert!(machine.mailbox("root").contains("Subject: both"));
}

#[test]
fn notices_do_not_go_round_between_lists() {
    let mut machine = machine(
        "refuses: \"|exit 69\"\none: refuses\nowner-one: two\ntwo: refuses\nowner-two: one\n",
        "",
    );
    machine.start(&[]);
    machine.send(ANN, &["one@test.example"], "Subject: round\n\nx");
    let root = machine.mailbox_with("root", "Subject: Postmaster notify");
    machine.wait_for_empty_queue();
    assert_eq!(notices(&root).len(), 1);
    assert_eq!(machine.mailbox("ann"), "");
}

#[test]
fn too_many_hops_and_loops_of_aliases() {
    let mut machine = machine("a: b\nb: a\n", "");
    machine.start(&[]);
    let hops = "Received: from x\n".repeat(26);
    machine.send(
        ANN,
        &["bob@test.example"],
        &format!("{hops}Subject: far\n\nx"),
    );
    let mailbox = machine.mailbox_with("ann", "Status: 5.4.6");
    has(
        notices(&mailbox)[0],
        &["    (reason: Too many hops 26 (25 max)"],
    );
    assert!(!machine.mailbox("bob").contains("Subject: far"));
    machine.send(ANN, &["a@test.example"], "Subject: round\n\nx");
    let mailbox = machine.mailbox_with("ann", "aliasing/forwarding loop broken");
    machine.wait_for_empty_queue();
    assert_eq!(notices(&mailbox).len(), 2, "{mailbox}");
    has(
        notices(&mailbox)[1],
        &["Final-Recipient: RFC822; a@test.example\nAction: failed\nStatus: 5.4.6\n"],
    );
}

#[test]
fn warnings_and_giving_up_come_once() {
    let mut machine = machine(
        "later: \"|exit 75\"\n",
        "define(`confTO_QUEUEWARN', `1s')dnl\ndefine(`confTO_QUEUERETURN_URGENT', `now')dnl\n",
    );
    machine.start(&["-q1s"]);
    machine.send(
        ANN,
        &["later@test.example"],
        "Subject: soon\nPriority: urgent\n\nx",
    );
    let mailbox = machine.mailbox_with("ann", "Status: 4.4.7");
    has(
        notices(&mailbox)[0],
        &["Message will be deleted from queue\n"],
    );
    machine.wait_for_empty_queue();
    machine.send(ANN, &["later@test.example"], "Subject: some day\n\nx");
    machine.mailbox_with(
        "ann",
        "Subject: Warning: could not send message for past 1 second",
    );
    // It is tried on and on; no second warning comes.
    machine.wait("six tries", || {
        let listed: serde_json::Value = serde_json::from_str(&machine.mailq(&["--json"])).ok()?;
        (listed["tries"].as_u64()? >= 6).then_some(())
    });
    let mailbox = machine.mailbox("ann");
    assert_eq!(notices(&mailbox).len(), 2, "{mailbox}");
    has(
        notices(&mailbox)[1],
        &["Action: delayed\nStatus: 4.2.0\n", "Will-Retry-Until: "],
    );
    let by = format!("{ANN} BY=1;R");
    machine.send(&by, &["later@test.example"], "Subject: by\n\nx");
    let mailbox = machine.mailbox_with("ann", "Status: 5.4.7");
    has(
        notices(&mailbox)[2],
        &["Deliver-By-Date: ", "Delivery time (1s) expired\n"],
    );
}

#[test]
fn a_message_whose_time_is_over_is_not_tried_any_more() {
    let mut machine = machine(
        "late: {ROOT}/open/late\n",
        "define(`confDELIVERY_MODE', `queue')dnl\n",
    );
    machine.start(&["-q", "1h"]);
    machine.send(
        &format!("{ANN} BY=1;R"),
        &["late@test.example"],
        "Subject: late\n\nx",
    );
    let listed = machine.mailq(&["--json"]);
    assert!(listed.contains("late@"), "{listed}");
    std::thread::sleep(std::time::Duration::from_millis(2_500));
    machine.mailq(&["run"]);
    machine.wait("a notice", || {
        machine.mailq(&["run"]);
        let mailbox = std::fs::read_to_string(machine.path("var/mail/ann")).ok()?;
        mailbox.contains("Status: 5.4.7").then_some(())
    });
    assert!(!machine.path("open/late").exists());
}

#[test]
fn the_schedule_survives_a_restart_and_etrn_breaks_it() {
    let mut machine = machine(
        "later: \"|test -e {ROOT}/open/now && cat > {ROOT}/open/program || exit 75\"\n",
        "define(`confMIN_QUEUE_AGE', `1h')dnl\ndefine(`confDELIVERY_MODE', `queue')dnl\n",
    );
    let root = machine
        .path("")
        .to_str()
        .unwrap()
        .trim_end_matches('/')
        .to_owned();
    let later =
        format!("later: \"|test -e {root}/open/now && cat > {root}/open/program || exit 75\"\n");
    machine.aliases(&later);
    machine.start(&["-q", "1h"]);
    machine.send(ANN, &["later@test.example"], "Subject: x\n\nhello");
    assert!(machine.mailq(&["-v"]).contains("not tried yet, next try "));
    machine.say(&["EHLO x", "ETRN elsewhere.example", "ETRN test.example"]);
    let tried = |n: u64| {
        machine.wait("try", || {
            let listed: serde_json::Value =
                serde_json::from_str(&machine.mailq(&["--json"])).ok()?;
            (listed["tries"].as_u64()? == n).then_some(listed["due_unix"].as_u64()?)
        })
    };
    let due = tried(1);
    let listed = machine.mailq(&["-v"]);
    assert!(listed.contains("tried 1 time, last "), "{listed}");
    assert!(listed.contains(": waiting: temporary failure"), "{listed}");
    machine.kill();
    machine.start(&["-q", "1h"]);
    machine.write("open/now", "");
    machine.say(&["EHLO x", "ETRN elsewhere.example"]);
    let listed: serde_json::Value = serde_json::from_str(&machine.mailq(&["--json"])).unwrap();
    assert_eq!(listed["due_unix"].as_u64(), Some(due));
    machine.say(&["EHLO x", "ETRN @test.example"]);
    machine.wait_for_empty_queue();
    assert!(machine.text("open/program").contains("hello"));
}

#[test]
fn the_words_of_the_site_and_the_copy_for_the_postmaster() {
    let mut machine = machine(
        "refuses: \"|exit 69\"\n",
        "define(`confCOPY_ERRORS_TO', `root')dnl\ndefine(`confERROR_MESSAGE', `Ask $j.')dnl\n",
    );
    machine.start(&[]);
    machine.send(ANN, &["refuses@test.example"], "Subject: x\n\nsecret");
    let mailbox = machine.mailbox_with("ann", "\nAsk mx.test.example.\n");
    assert!(mailbox.contains("secret"));
    let copy = machine.mailbox_with("root", "Subject: Postmaster notify");
    assert!(!copy.contains("secret"));
}

#[test]
fn soft_bounces_wait_and_receipts_come_for_a_field() {
    let mut machine = machine(
        "refuses: \"|exit 69\"\n",
        "define(`confSOFT_BOUNCE', `True')dnl\ndefine(`confRRT_IMPLIES_DSN', `True')dnl\n",
    );
    machine.start(&[]);
    machine.send(
        ANN,
        &["bob@test.example"],
        "Subject: x\nReturn-Receipt-To: ann@test.example\n\nx",
    );
    let mailbox = machine.mailbox_with("ann", "Subject: Return receipt");
    has(notices(&mailbox)[0], &["Action: delivered"]);
    machine.send(ANN, &["refuses@test.example"], "Subject: x\n\nx");
    machine.wait("a deferred copy", || {
        let listed = machine.mailq(&[]);
        listed
            .contains("(Deferred: Service unavailable)")
            .then_some(())
    });
    assert_eq!(notices(&machine.mailbox("ann")).len(), 1);
}

#[test]
fn a_large_message_comes_back_whole_only_where_that_is_asked_for() {
    let mut machine = machine("refuses: \"|exit 69\"\n", "");
    machine.start(&[]);
    let filler = format!("{}\n", "x".repeat(70)).repeat(16_000);
    let text = format!("Subject: large\n\n{filler}the end\n");
    machine.send(ANN, &["refuses@test.example"], &text);
    let header = machine.mailbox_with("ann", "\nContent-Type: text/rfc822-headers\n");
    assert!(header.contains("\nSubject: large\n") && !header.contains("the end"));
    machine.send(&format!("{ANN} RET=FULL"), &["refuses@test.example"], &text);
    let whole = machine.mailbox_with("ann", "\nthe end\n");
    assert!(whole.contains("\nContent-Type: message/rfc822\n"));
    machine.wait_for_empty_queue();
    let files = |folder: &str| std::fs::read_dir(machine.path(folder)).unwrap().count();
    assert_eq!(
        files("var/spool/mqueue/large") + files("var/spool/mqueue/incoming"),
        0
    );
}

#[test]
fn what_other_hosts_say() {
    let host = Host::start(Habit::Takes);
    let mut machine = machine(
        "club: x@far.example, bad2@far.example\nowner-club: owner\n",
        &format!(
            "define(`SMART_HOST', `relay:[127.0.0.1]:{}')dnl\n",
            host.port()
        ),
    );
    machine.start(&["-q1s"]);
    machine.send(
        ANN,
        &[
            "bad1@far.example",
            "y@far.example NOTIFY=SUCCESS",
            "club@test.example NOTIFY=SUCCESS,FAILURE",
        ],
        "Subject: away\n\nx",
    );
    let owner = machine.mailbox_with("owner", "Auto-Submitted");
    let mailbox = machine.mailbox_with("ann", "Auto-Submitted");
    machine.wait_for_empty_queue();
    assert_eq!(notices(&mailbox).len(), 1, "{mailbox}");
    has(
        notices(&mailbox)[0],
        &[
            "    (reason: 550 5.1.1 nobody of that name)\n",
            "<y@far.example>  (relayed to non-DSN-aware mailer)\n",
            "<club@test.example>  (expanded by mailing list)\n",
            "550 5.1.1 <bad1@far.example>... User unknown\n",
            "Action: relayed (to non-DSN-aware mailer)\nStatus: 2.",
            "Remote-MTA: DNS; ",
            "Diagnostic-Code: SMTP; 550 5.1.1 nobody of that name\n",
        ],
    );
    assert_eq!(notices(&owner).len(), 1);
    has(
        notices(&owner)[0],
        &[
            "X-Actual-Recipient: rfc822; bad2@far.example\n",
            "    (expanded from: <club@test.example>)\n",
        ],
    );
    assert_eq!(host.texts().len(), 2, "the owner is another sender");
}
