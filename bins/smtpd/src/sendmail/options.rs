//! The options of sendmail, as data: for the parser, `--help` and the check of the manual.

use tools::getopt::{Opt, flag, long, long_value, value};

/// Every option.
pub const OPTIONS: &[Opt] = &[
    flag(b't', "take recipients from To, Cc and Bcc"),
    flag(b'i', "a line with a dot alone is text"),
    value(b'f', "ADDRESS", "the sender"),
    value(b'r', "ADDRESS", "the same, as of old"),
    value(b'F', "NAME", "the sender's full name"),
    value(b'B', "TYPE", "7BIT or 8BITMIME"),
    value(
        b'N',
        "WHEN",
        "reports wanted: never, or success,failure,delay",
    ),
    value(b'R', "WHAT", "reports hold: full or hdrs"),
    value(b'V', "ENVID", "the envelope's id, in reports"),
    value(b'h', "HOPS", "hops so far"),
    value(
        b'b',
        "MODE",
        "m send, s SMTP session, v verify, p queue, i aliases, t test, d or D daemon, h or H host status",
    ),
    value(
        b'q',
        "[WHICH]",
        "run the queue: all, or [!]I, R or S and a part of id, recipient or sender",
    ),
    value(b'C', "FILE", "the site's sendmail.mc"),
    value(b'o', "XVALUE", "set an option by its letter: -oi is -i"),
    value(b'O', "NAME=VALUE", "set an option by its name"),
    value(
        b'e',
        "MODE",
        "how a wrong address is told: print, mail, quiet or berknet",
    ),
    flag(b'v', "say what happens"),
    value(b'd', "[LEVEL]", "-d0 prints version and names"),
    flag(b'I', "as -bi"),
    value(b'Q', "[REASON]", "not here: mailq hold and release do it"),
    value(b'A', "X", "c with -q: nothing is to be done"),
    flag(b'c', "accepted and without meaning, as are those below"),
    value(b'D', "FILE", "debug output"),
    flag(b'G', "gateway submission"),
    value(b'L', "TAG", "tag of log lines"),
    value(b'M', "XVALUE", "macro"),
    flag(b'm', "me too"),
    flag(b'n', "don't alias"),
    value(b'p', "PROTOCOL", "protocol and host"),
    flag(b's', "From line"),
    value(b'T', "TIME", "time in the queue"),
    flag(b'U', "initial submission"),
    value(b'X', "FILE", "traffic log"),
    long_value(
        "root",
        "DIR",
        "take all absolute paths of the site below DIR",
    ),
    long("help", "print this help and end"),
    long("version", "print the version and end"),
];

/// The usage text.
pub const USAGE: &str = "\
usage: sendmail [options] ADDRESS...        send the message on standard input
       sendmail [options] -t [ADDRESS...]   to the recipients in its header, too
       sendmail -bs | -bv ADDRESS... | -bp | -bi | -bt | -bd | -bD | -q[WHICH]
";
