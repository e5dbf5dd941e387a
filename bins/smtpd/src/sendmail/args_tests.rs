use super::*;
use crate::queue::{Condition, Field, Want};

fn parse(args: &str) -> Result<CommandLine, Refusal> {
    CommandLine::parse(
        OsStr::new("sendmail"),
        args.split(' ')
            .filter(|a| !a.is_empty())
            .map(OsString::from),
    )
}

fn operands(line: &CommandLine) -> Vec<String> {
    line.operands.iter().map(Octets::shown).collect()
}

#[test]
fn callers_ways() {
    // cron, mail(1), mutt, PHP, git send-email.
    let cases: [(&str, Mode, RecipientsIn, Dot, &[&str]); 9] = [
        (
            "-FCronDaemon -i -B8BITMIME -oem root",
            Mode::Submit,
            RecipientsIn::Operands,
            Dot::IsText,
            &["root"],
        ),
        (
            "-i -t -oem",
            Mode::Submit,
            RecipientsIn::Header,
            Dot::IsText,
            &[],
        ),
        (
            "-oem -oi -f joe@b -- ann bob",
            Mode::Submit,
            RecipientsIn::Operands,
            Dot::IsText,
            &["ann", "bob"],
        ),
        (
            "-t -i -fjoe@b",
            Mode::Submit,
            RecipientsIn::Header,
            Dot::IsText,
            &[],
        ),
        (
            "-it ann",
            Mode::Submit,
            RecipientsIn::Header,
            Dot::IsText,
            &["ann"],
        ),
        ("-bs", Mode::Session, RecipientsIn::Operands, Dot::Ends, &[]),
        (
            "-b v -v ann",
            Mode::Verify,
            RecipientsIn::Operands,
            Dot::Ends,
            &["ann"],
        ),
        (
            "-o i ann -f",
            Mode::Submit,
            RecipientsIn::Operands,
            Dot::IsText,
            &["ann", "-f"],
        ),
        (
            "- ann",
            Mode::Submit,
            RecipientsIn::Operands,
            Dot::Ends,
            &["-", "ann"],
        ),
    ];
    for (args, mode, recipients_in, dot, want) in cases {
        let line = parse(args).unwrap();
        assert_eq!(
            (&line.mode, line.recipients_in, line.dot),
            (&mode, recipients_in, dot),
            "{args}"
        );
        assert_eq!(operands(&line), want, "{args}");
    }
}

#[test]
fn values_are_read() {
    let line = parse("-f a@b -F Full -N success,DELAY -R hdrs -V id+2B1 -h 5 -B 8bitmime -nfoo x");
    assert_eq!(line.unwrap_err().text, "More than one \"from\" person");
    let line = parse(
        "-r a@b -FFull -N success,DELAY -R hdrs -V id+2B1 -h5 -B8bitmime --root=/r -C x.mc x",
    )
    .unwrap();
    assert_eq!(line.sender, Some(("a@b".into(), SetBy::R)));
    assert_eq!(line.full_name, Some("Full".into()));
    let notify = Notify {
        success: true,
        failure: false,
        delay: true,
    };
    assert_eq!(line.notify, Some(notify));
    assert_eq!(
        (line.ret, line.hops, line.body),
        (Some(Ret::Headers), 5, Some(BodyKind::EightBitMime))
    );
    assert_eq!(line.envid.as_deref(), Some("id+2B1"));
    assert_eq!(
        (line.root, line.config),
        (Some("/r".into()), Some("x.mc".into()))
    );
}

#[test]
fn refusals_are_sendmails() {
    let cases = [
        ("-z ann", SysExit::Usage, "sendmail: illegal option -- z"),
        ("-E ann", SysExit::Usage, "sendmail: illegal option -- E"),
        ("-x ann", SysExit::Usage, "sendmail: illegal option -- x"),
        (
            "--nosuch ann",
            SysExit::Usage,
            "sendmail: illegal option -- -",
        ),
        ("-bx", SysExit::Usage, "Invalid operation mode x"),
        ("-b", SysExit::Usage, "Invalid operation mode  "),
        ("-bz", SysExit::Usage, "Frozen configurations unsupported"),
        ("-hx ann", SysExit::Usage, "Bad hop count (x)"),
        ("-N bogus ann", SysExit::Usage, "Invalid -N argument"),
        (
            "-N never,success ann",
            SysExit::Usage,
            "Invalid -N argument",
        ),
        ("-R bogus ann", SysExit::Usage, "Invalid -R value"),
        ("-R full -R hdrs ann", SysExit::Usage, "Duplicate -R flag"),
        ("-B bogus ann", SysExit::Usage, "Illegal body type bogus"),
        ("-V a+b ann", SysExit::Usage, "Invalid syntax in -V flag"),
        ("-odx ann", SysExit::Usage, "Unknown delivery mode x"),
        ("-qx", SysExit::Usage, "Invalid time unit `x'"),
        ("-q!x", SysExit::Usage, "Invalid time unit `x'"),
        (
            "-ONoSuch=1 ann",
            SysExit::Software,
            "readcf: unknown option name NoSuch",
        ),
        (
            "-f a -r b ann",
            SysExit::Usage,
            "More than one \"from\" person",
        ),
    ];
    for (args, exit, text) in cases {
        let refusal = parse(args).unwrap_err();
        assert_eq!(
            (refusal.exit, refusal.text.as_str()),
            (exit, text),
            "{args}"
        );
        let on = if text.starts_with("sendmail: ") {
            Stream::Error
        } else {
            Stream::Output
        };
        assert_eq!(refusal.on, on, "{args}");
    }
}

#[test]
fn the_queue_in_all_its_forms() {
    let condition = |field, want, part: &str| Condition {
        field,
        want,
        part: part.into(),
    };
    let cases: [(&str, Order, Vec<Condition>); 9] = [
        ("-q", Order::Once, vec![]),
        ("-q30m", Order::Often, vec![]),
        ("-q30", Order::Often, vec![]),
        ("-qf", Order::Once, vec![]),
        ("-qGmqueue", Order::Once, vec![]),
        ("-qp", Order::Often, vec![]),
        (
            "-qIsub",
            Order::Once,
            vec![condition(Field::Id, Want::Matching, "sub")],
        ),
        (
            "-q!Rx@y",
            Order::Once,
            vec![condition(Field::Recipient, Want::Other, "x@y")],
        ),
        (
            "-qSjoe -qSann",
            Order::Once,
            vec![
                condition(Field::Sender, Want::Matching, "joe"),
                condition(Field::Sender, Want::Matching, "ann"),
            ],
        ),
    ];
    for (args, order, conditions) in cases {
        let line = parse(args).unwrap();
        assert_eq!(line.mode, Mode::RunQueue, "{args}");
        assert_eq!(
            (&line.queue.order, &line.queue.conditions),
            (&order, &conditions),
            "{args}"
        );
    }
    for (args, said) in [
        ("-qGfoo", "Queue group foo unknown"),
        ("-qG", "Queue group  unknown"),
        ("-q!Gmqueue", "Can not use -q!G"),
    ] {
        let refusal = parse(args).unwrap_err();
        assert_eq!(
            (refusal.text.as_str(), refusal.exit),
            (said, SysExit::Usage)
        );
    }
    assert_eq!(parse("-bd -q30m").unwrap().mode, Mode::Daemon);
    // As the packages' cron jobs and start scripts call it.
    for (args, queue_of) in [
        ("-qf -Ac -L sm-msp-queue", QueueOf::Client),
        ("-qf -Am -L sm-mta-queue", QueueOf::Server),
    ] {
        let line = parse(args).unwrap();
        assert_eq!(
            (line.mode, line.queue_of, &line.queue.order),
            (Mode::RunQueue, queue_of, &Order::Once),
            "{args}"
        );
    }
    // What stands apart is no value of -q.
    assert_eq!(operands(&parse("-q ann").unwrap()), ["ann"]);
}

#[test]
fn names_are_modes() {
    for (name, mode) in [
        ("mailq", Mode::PrintQueue),
        ("/usr/bin/newaliases", Mode::InitAliases),
        ("smtpd", Mode::Daemon),
        ("hoststat", Mode::HostStatus),
        ("purgestat", Mode::HostStatus),
        ("sendmail", Mode::Submit),
    ] {
        let line = CommandLine::parse(OsStr::new(name), []).unwrap();
        assert_eq!(line.mode, mode, "{name}");
    }
}

#[test]
fn options_that_are_not_safe_need_the_callers_own_rights() {
    for (args, own) in [
        ("-OLogLevel=14 ann", false),
        ("-oL9 ann", false),
        ("-o7 ann", false),
        ("-OEightBitMode=pass ann", false),
        ("-opgoaway ann", false),
        ("-OPrivacyOptions=goaway ann", false),
        ("-ONoRecipientAction=none ann", false),
        ("-OSendMimeErrors ann", false),
        ("-oj ann", false),
        ("-OSuperSafe ann", false),
        ("-os ann", false),
        ("-OCheckpointInterval=5 ann", false),
        ("-oC5 ann", false),
        ("-OMaxRecipientsPerMessage=9 ann", false),
        ("-OQueueSortOrder=host ann", false),
        (
            "-OAllowBogusHELO -OBadRcptThrottle=1 -OColonOkInAddr ann",
            false,
        ),
        (
            "-ODefaultCharSet=x -ODialDelay=1 -OMaxQueueRunSize=1 ann",
            false,
        ),
        (
            "-OMinQueueAge=1 -ORejectNUL -OSingleLineFromHeader ann",
            false,
        ),
        ("-OMinFreeBlocks=1 -oo -om -ov -em ann", false),
        ("-OLogLevel=9 -OMaxHopCount=9 ann", true),
        ("-OTimeout.queuereturn=5d ann", true),
        ("-OSaveFromLine ann", true),
        ("-OAliasFile=/x ann", true),
        ("-t -i -f a@b", false),
        ("-oem -odb -oi ann", false),
        ("-C x ann", true),
        ("--root x ann", true),
        ("-OQueueDirectory=/x ann", true),
        ("-oQ/x ann", true),
        ("-OMaxMessageSize=1 ann", true),
    ] {
        assert_eq!(parse(args).unwrap().needs_own_rights(), own, "{args}");
    }
}

proptest::proptest! {
    #[test]
    fn no_command_line_makes_it_panic(
        args in proptest::collection::vec("-{0,2}[a-zA-Z!=+0-9@{}]{0,6}", 0..6),
    ) {
        let _ = CommandLine::parse(OsStr::new("sendmail"), args.into_iter().map(OsString::from));
    }
}
