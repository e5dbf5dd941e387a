use super::*;

fn filtered(text: &str, size: usize) -> (String, Result<Summary, TooLarge>) {
    let stamp = Stamp {
        received: "from a\n\tby b; now".into(),
        date: "DATE".into(),
        message_id: "<ID>".into(),
        from: Some("joe@b".into()),
        full_name: None,
        warnings: vec![],
        max_octets: 300,
    };
    let (mut filter, mut out) = (HeaderFilter::new(stamp), Vec::new());
    let text = text.replace('\n', "\r\n");
    for piece in text.as_bytes().chunks(size) {
        filter.push(piece, &mut out);
    }
    let summary = filter.finish(&mut out);
    (
        String::from_utf8(out).unwrap().replace("\r\n", "\n"),
        summary,
    )
}

#[test]
fn fields_are_added_and_taken_out() {
    const ALL: &str = "Received: from a\n\tby b; now\nDate: DATE\nFrom: joe@b\nMessage-Id: <ID>\n";
    const TOP: &str = "Received: from a\n\tby b; now\n";
    let cases = [
        ("", format!("{ALL}\n")),
        ("\n", format!("{ALL}\n")),
        ("\nx\n", format!("{ALL}\nx\n")),
        ("no header at all\n", format!("{ALL}\nno header at all\n")),
        (
            "Subject: x\n more\n\nx",
            format!("{ALL}Subject: x\n more\n\nx\n"),
        ),
        (
            "Subject: x\nnot one\n",
            format!("{ALL}Subject: x\n\nnot one\n"),
        ),
        (
            "From x@y Fri\nSubject : x\n\n",
            format!("{ALL}Subject: x\n\n"),
        ),
        (
            "Return-Path: <e>\nBCC: s\nContent-Length: 5\nDate: \nFrom:\nMessage-Id: <>\n\nx\n",
            format!("{TOP}Date: DATE\nFrom: joe@b\nMessage-Id: <>\n\nx\n"),
        ),
        (
            "Resent-From: a@b\nFull-Name: foo\n\n",
            format!(
                "{TOP}Resent-Date: DATE\nDate: DATE\nFrom: foo <joe@b>\nResent-Message-Id: <ID>\nMessage-Id: <ID>\nResent-From: a@b\n\n"
            ),
        ),
    ];
    for (text, want) in &cases {
        for size in [1, 2, 3, 1000] {
            assert_eq!(filtered(text, size).0, *want, "{text:?} by {size}");
        }
    }
}

#[test]
fn what_makes_a_message_one_that_is_sent_once_more() {
    let is_marked = |name: &str| {
        let (out, _) = filtered(&format!("Resent-{name}: x\n\n"), 1000);
        out.contains("Resent-Date: DATE\n") || out.contains("Resent-Message-Id: <ID>\n")
    };
    for name in [
        "Sender",
        "FROM",
        "Reply-To",
        "to",
        "Cc",
        "Bcc",
        "Date",
        "Message-ID",
    ] {
        assert!(is_marked(name), "{name}");
    }
    for name in [
        "By",
        "User-Agent",
        "Comments",
        "Subject",
        "Received",
        "Return-Path",
    ] {
        assert!(!is_marked(name), "{name}");
    }
}

#[test]
fn empty_fields_are_replaced() {
    let (out, _) = filtered(
        "Resent-Date:\nResent-From: \nResent-Message-Id:\n\t\nMessage-Id: \nTo:\n\n",
        1000,
    );
    let want = "Received: from a\n\tby b; now\nResent-Date: DATE\nDate: DATE\n\
        Resent-From: joe@b\nFrom: joe@b\nResent-Message-Id: <ID>\nMessage-Id: <ID>\nTo:\n\n";
    assert_eq!(out, want);
}

#[test]
fn precedences_of_the_site() {
    let own = BTreeMap::from([("bulk".to_owned(), -5), ("news".to_owned(), 30)]);
    for (word, want) in [("Bulk", -5), ("NEWS", 30), ("junk", -100), ("other", 0)] {
        assert_eq!(class_of(word.as_bytes(), &own), want, "{word}");
    }
}

#[test]
fn hops_and_limits() {
    let (_, summary) = filtered("Received: x\nReceived: y\nPrecedence: bulk\n\n", 7);
    let want = Summary {
        hops: 2,
        message_id: "<ID>".into(),
        class: -60,
        urgency: Urgency::NonUrgent,
        wants_receipt: false,
    };
    assert_eq!(summary, Ok(want));
    let (_, summary) = filtered(
        "Priority: Urgent\nPrecedence: bulk\nReturn-receipt-to: x\n\n",
        7,
    );
    let said = summary.map(|s| (s.urgency, s.wants_receipt));
    assert_eq!(said, Ok((Urgency::Urgent, true)));
    let long = format!("X: {}\n\nbody\n", "y".repeat(400));
    assert_eq!(filtered(&long, 1000).1, Err(TooLarge));
    let endless = format!("X: {}", "y".repeat(9000));
    assert_eq!(filtered(&endless, 100).1, Err(TooLarge));
    // No field, and longer than the header may be.
    for text in ["y".repeat(9000), format!("X: y\n{}: z", "y".repeat(9000))] {
        for size in [1, 100, 4096, 10_000] {
            let (out, summary) = filtered(&text, size);
            assert!(summary.is_ok(), "by {size}");
            assert!(out.contains(&format!("\n\n{}", "y".repeat(9000))));
        }
    }
    let body = format!("X: y\n\n{}", "y".repeat(9000));
    assert!(filtered(&body, 100).1.is_ok());
}

#[test]
fn a_line_end_counts_as_one_octet() {
    for (lines, fits) in [(60, true), (61, false)] {
        let fields = "X: b\n".repeat(lines);
        for text in [fields.clone(), format!("{fields}\nx\n")] {
            for size in [1, 7, 1000] {
                let summary = filtered(&text, size).1;
                assert_eq!(summary.is_ok(), fits, "{lines} by {size}: {text:?}");
            }
        }
    }
}
