use super::*;
use crate::site::alias_files::AliasSite;

fn read(text: &str) -> Cf {
    Cf::parse(text.as_bytes(), &mut |path| match path.to_str() {
        Some("/etc/hosts-of-ours") => Ok(b"# ours\none.example  more\n\nTWO.example\n".to_vec()),
        _ => Err(io::Error::from(io::ErrorKind::NotFound)),
    })
}

#[test]
fn options_in_all_their_spellings() {
    let cf = read("OA/x\nO  BlankSub = +\nO aliasfile=/a,\n\t/b\n#O BlankSub=!\nO\nO \n");
    let value = |name| cf.option_value(name).map(|o| (o.line, o.value.clone()));
    assert_eq!(value("AliasFile"), Some((3, b"/a,\n\t/b".to_vec())));
    assert_eq!(value("BlankSub"), Some((2, b"+".to_vec())));
    assert_eq!(cf.options.first().unwrap().name, b"AliasFile");
    assert_eq!(cf.option_verbatim("BlankSub"), None);
    assert_eq!(
        read("O TrustedUser=joe\n").option_verbatim("TrustedUser"),
        Some(&b"joe"[..])
    );
}

#[test]
fn classes_and_macros() {
    let cf = read(
        "Dmexample.com\nDjmail.$m\nCwlocalhost $j\nC{w} B.example\nFw/etc/hosts-of-ours\n\
         Fw-o /etc/none\nFw/etc/other\nC{Big}x\n",
    );
    let w: Vec<_> = cf.class_folded("w").into_iter().collect();
    assert_eq!(
        w,
        [
            &b"b.example"[..],
            b"localhost",
            b"mail.example.com",
            b"one.example",
            b"two.example"
        ]
    );
    assert_eq!(cf.class_folded("{Big}").len(), 1);
    assert_eq!(cf.warnings.len(), 1);
    assert_eq!(cf.warnings[0].line, 7);
}

/// `F{w}-o /etc/mail/local-host-names %[^\#]` is what Debian writes.
#[test]
fn class_files_are_read_by_their_format() {
    let cf = read("F{w}-o /etc/hosts-of-ours %[^\\#]\nFw-o /etc/none %[^\\#]\n");
    let w: Vec<_> = cf.class_folded("w").into_iter().collect();
    assert_eq!(w, [&b"more"[..], b"one.example", b"two.example"]);
}

#[test]
fn alias_files_of_every_class_that_the_server_reads_are_built() {
    let cf = read("O AliasFile=dbm:/etc/a, cdb:/etc/b, hash:-o /etc/c, nis:x@y\n");
    let site = AliasSite::from_cf(&cf).unwrap();
    let built: Vec<bool> = site.files.iter().map(|file| file.is_built()).collect();
    assert_eq!(built, [true, true, true, false]);
}

#[test]
fn maps() {
    let cf = read("Kaccess hash -T<TMPF> -o /etc/mail/access\nKd dequote\nK\n");
    assert_eq!(cf.maps.len(), 2);
    assert_eq!(cf.maps[0].file.as_deref(), Some(&b"/etc/mail/access"[..]));
    assert_eq!(cf.maps[0].flags, [&b"-T<TMPF>"[..], b"-o"]);
    assert_eq!(cf.maps[1].file, None);
}

#[test]
fn a_macro_of_itself_ends() {
    let cf = read("Dx$x$x\n");
    assert!(cf.expanded(b"$x").len() <= EXPANDED_MAX_OCTETS);
}

#[test]
fn a_long_macro_called_often_stays_short() {
    let cf = read(&format!("Dx{}\nDyshort\n", "a".repeat(1 << 20)));
    let text = "$x$y".repeat(100_000);
    assert_eq!(cf.expanded(text.as_bytes()), text.as_bytes());
    assert_eq!(cf.expanded(b"$y $x"), b"$y $x");
    assert_eq!(cf.expanded(b"$y $z"), b"short ");
}

#[test]
fn a_class_of_many_long_values_is_bounded() {
    let words: Vec<String> = (0..100_000).map(|n| format!("$x{n}")).collect();
    let cf = read(&format!("Dx{}\nCw{}\n", "a".repeat(2000), words.join(" ")));
    let folded = cf.class_folded("w");
    let octets: usize = folded.iter().map(Vec::len).sum();
    assert!((1 << 23..=1 << 24).contains(&octets), "{octets}");
}

#[test]
fn class_files_are_read_up_to_a_bound() {
    let text = b"one.example\n".repeat(1 << 20);
    let lines: String = (0..1000).map(|n| format!("F{{c{n}}}/etc/big\n")).collect();
    let mut opened = 0;
    let cf = Cf::parse(lines.as_bytes(), &mut |_| {
        opened += 1;
        Ok(text.clone())
    });
    assert_eq!((opened, cf.classes.len()), (2, 1));
    let warning = cf.warnings.first().unwrap();
    assert_eq!(
        (warning.line, warning.text.as_str()),
        (2, "/etc/big: class files are too large")
    );
}
