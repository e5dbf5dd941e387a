//! The cases of `testdata/sendmail`.

use std::fs;
use std::path::Path;

use crate::site::{Site, testdata};

/// Sections of a case, by name.
struct Case {
    sections: Vec<(String, String)>,
}

impl Case {
    fn read(path: &Path) -> Self {
        let mut sections: Vec<(String, String)> = Vec::new();
        for line in fs::read_to_string(path).unwrap().lines() {
            match line.strip_prefix("== ") {
                Some(name) => sections.push((name.to_owned(), String::new())),
                None => {
                    let (_, text) = sections.last_mut().expect("a section");
                    text.push_str(line);
                    text.push('\n');
                }
            }
        }
        Case { sections }
    }

    fn get(&self, name: &str) -> &str {
        let found = self.sections.iter().find(|(n, _)| n == name);
        found.map_or("", |(_, text)| text)
    }

    fn text(&self) -> String {
        let sections = self.sections.iter();
        sections
            .map(|(name, text)| format!("== {name}\n{text}"))
            .collect()
    }
}

/// Octets of a text with escapes.
fn octets(text: &str) -> Vec<u8> {
    let mut out = Vec::new();
    let mut rest = text;
    while let Some(at) = rest.find('\\') {
        out.extend_from_slice(&rest.as_bytes()[..at]);
        let (octet, used) = match &rest.as_bytes()[at + 1] {
            b'r' => (b'\r', 2),
            b'0' => (0, 2),
            b'x' => (u8::from_str_radix(&rest[at + 2..at + 4], 16).unwrap(), 4),
            other => (*other, 2),
        };
        out.push(octet);
        rest = &rest[at + used..];
    }
    out.extend_from_slice(rest.as_bytes());
    out
}

/// What changes from run to run, by name.
fn stable(text: &str) -> String {
    let mut out = String::new();
    for line in text.lines() {
        let mut line = line.to_owned();
        for field in ["Date: ", "Resent-Date: "] {
            if line.starts_with(field) && line.contains(" 20") {
                line = format!("{field}{{DATE}}");
            }
        }
        if let Some((head, _)) = line.split_once("; ")
            && (head.starts_with("\tfor ") || head.contains(") id ") || head.contains(" id "))
        {
            line = format!("{head}; {{DATE}}");
        }
        if line.starts_with('\t') && line.ends_with(" GMT") || line.contains(" +0000 (") {
            line = "\t{DATE}".to_owned();
        }
        if line.starts_with("From ") && line.split(' ').count() > 6 {
            let who = line.split(' ').nth(1).unwrap();
            line = format!("From {who} {{DATE}}");
        }
        for (before, after) in [("Message-Id: <", "@"), ("Resent-Message-Id: <", "@")] {
            if let Some(rest) = line.strip_prefix(before)
                && rest.starts_with("20")
                && let Some((_, host)) = rest.split_once(after)
            {
                line = format!("{before}{{ID}}@{host}");
            }
        }
        if let Some((head, tail)) = line.split_once(" id ") {
            let end = tail.find([';', ' ']).unwrap_or(tail.len());
            line = format!("{head} id {{ID}}{}", &tail[end..]);
        }
        for quoted in [" (queued ", "Sent (", "queued ("] {
            if let Some((head, tail)) = line.split_once(quoted) {
                let end = tail.find([' ', ';', ')']).unwrap_or(tail.len());
                line = format!("{head}{quoted}{{ID}}{}", &tail[end..]);
            }
        }
        if let Some(rest) = line.strip_prefix("250 2.0.0 ")
            && let Some((_, tail)) = rest.split_once(" Message accepted")
        {
            line = format!("250 2.0.0 {{ID}} Message accepted{tail}");
        }
        if let Some((head, _)) = line.split_once("; ")
            && head.starts_with("220 ")
        {
            line = format!("{head}; {{DATE}}");
        }
        out.push_str(&line);
        out.push('\n');
    }
    out
}

fn cases(folder: &str, ending: &str) -> Vec<std::path::PathBuf> {
    let folder = testdata().join(folder);
    let mut all: Vec<_> = fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|e| e == ending))
        .collect();
    all.sort();
    assert!(all.len() > 1, "no cases");
    all
}

fn updates() -> bool {
    std::env::var_os("UPDATE_GOLDENS").is_some()
}

#[test]
fn every_call_of_testdata() {
    let site = Site::with_server();
    let mut wrong = Vec::new();
    for path in cases("submit", "txt") {
        let case = Case::read(&path);
        let args: Vec<&str> = case.get("args").lines().collect();
        let before = site.read("open/box");
        let out = site.sendmail(&args, &octets(case.get("stdin")));
        // Everything that was dropped is taken, and what was taken is delivered.
        site.until("the server took the message", |s| {
            s.dropped("msg").is_empty()
        });
        site.until("the message was delivered", |s| s.queued().is_empty());
        let after = site.read("open/box");
        let stdout = String::from_utf8_lossy(&out.stdout).replace('\r', "");
        let stderr = String::from_utf8_lossy(&out.stderr).into_owned();
        let mut got = Case {
            sections: vec![
                ("args".into(), case.get("args").into()),
                ("stdin".into(), case.get("stdin").into()),
                ("exit".into(), format!("{}\n", out.status.code().unwrap())),
            ],
        };
        for (name, text) in [
            ("stdout", stdout.as_str()),
            ("stderr", &stderr),
            ("message", after.strip_prefix(&before).unwrap_or(&after)),
        ] {
            if !text.is_empty() {
                got.sections.push((name.into(), stable(text)));
            }
        }
        if updates() {
            fs::write(&path, got.text()).unwrap();
        } else if got.text() != case.text() {
            wrong.push(format!("{}\n{}", path.display(), got.text()));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn every_test_mode_session_of_testdata() {
    let site = Site::new();
    for path in cases("bt", "in") {
        let out = site.sendmail(&["-bt"], &fs::read(&path).unwrap());
        let got = String::from_utf8(out.stdout).unwrap();
        let golden = path.with_extension("out");
        if updates() {
            fs::write(&golden, &got).unwrap();
        }
        let want = fs::read_to_string(&golden).unwrap();
        assert_eq!(got, want, "{}", path.display());
        assert_eq!(out.status.code(), Some(0));
    }
}
