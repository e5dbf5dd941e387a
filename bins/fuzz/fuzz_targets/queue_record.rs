//! Any octets as an envelope out of the queue, and as requests on the control socket: read
//! again as they were written, and the notices that they call for are whole messages.
//!
//! `testdata/scripts/fuzz-all queue_record`
#![no_main]

use std::io::{Cursor, Read};
use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;
use libmaps::site::Site;
use smtpd::dsn::{Clerk, Form, Late, ShowActual, plan, write};
use smtpd::queue::control::{Line, Request};
use smtpd::queue::{Condition, Envelope, selects};

static SITE: LazyLock<Site> = LazyLock::new(|| Site {
    host_name: "mx.example".into(),
    ..Site::default()
});

fn notices(envelope: &Envelope, text: &[u8]) {
    for late in [
        None,
        Some(Late {
            until_unix: Some(1),
        }),
    ] {
        let plan = plan(&SITE, envelope, late);
        for notice in &plan.notices {
            for form in [Form::Mime, Form::Plain] {
                let clerk = Clerk {
                    id: "id",
                    host: "mx.example",
                    daemon: "MAILER-DAEMON",
                    secret: "secret",
                    now_unix: 5,
                    date: &|unix| format!("Thu, 1 Jan 1970 00:00:{unix:02} +0000"),
                    stamp: "197001010000",
                    error_header: "sorry\n",
                    remarks: &[],
                    waited: "4 hours",
                    by_unix: Some(7),
                    actual: ShowActual::Yes,
                    form,
                };
                let open = || Ok(Box::new(Cursor::new(text.to_vec())) as Box<dyn Read + Send>);
                let mut out = Vec::new();
                write(&clerk, notice, envelope, &open, &mut out).expect("memory");
                let end = out.windows(4).position(|w| w == b"\r\n\r\n");
                let head = &out[..end.expect("a header")];
                // No stranger brings in a field of his own: each line is ours or folded.
                for line in head.split(|c| *c == b'\n') {
                    let own = [
                        &b"Return-Path"[..],
                        b"Date",
                        b"From",
                        b"To",
                        b"Subject",
                        b"Message-I",
                        b"MIME",
                        b"Content",
                        b"Auto",
                        b"References",
                        b"Received",
                        b" ",
                        b"\t",
                        b"X-",
                    ];
                    assert!(
                        own.iter().any(|f| line.starts_with(f)),
                        "{:?}",
                        line.escape_ascii().to_string()
                    );
                }
            }
        }
    }
}

fuzz_target!(|octets: &[u8]| {
    let (json, text) = match octets.iter().position(|c| *c == b'\n') {
        Some(at) => (&octets[..at], &octets[at + 1..]),
        None => (octets, &b""[..]),
    };
    if let Ok(envelope) = serde_json::from_slice::<Envelope>(json) {
        let written = serde_json::to_vec(&envelope).expect("written");
        let again: Envelope = serde_json::from_slice(&written).expect("read again");
        assert_eq!(serde_json::to_vec(&again).expect("written"), written);
        let _ = (envelope.is_finished(), envelope.is_waiting());
        notices(&envelope, text);
        if let Ok(conditions) = serde_json::from_slice::<Vec<Condition>>(text) {
            let _ = selects(&conditions, &envelope);
        }
    }
    if let Ok(request) = serde_json::from_slice::<Request>(json) {
        let written = serde_json::to_vec(&request).expect("written");
        assert_eq!(
            serde_json::from_slice::<Request>(&written).expect("read again"),
            request
        );
    }
    let _ = serde_json::from_slice::<Line>(json);
});
