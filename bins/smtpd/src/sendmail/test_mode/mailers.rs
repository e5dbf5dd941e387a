//! `=M`: the mailers, a line each.

use std::io::{self, Write};

use libmaps::site::Site;
use libmaps::site::model::Rewriting;

/// Prints the mailers.
pub(super) fn list(site: &Site, out: &mut dyn Write) -> io::Result<()> {
    for (number, mailer) in site.mailers.defined.iter().enumerate() {
        let (senders, recipients) = rules(mailer.rewriting);
        let mut flags: Vec<char> = mailer.flags.chars().collect();
        flags.sort_unstable();
        let flags: String = flags.into_iter().collect();
        writeln!(
            out,
            "mailer {number} ({}): P={} S={senders} R={recipients} M={} F={flags} L={} A={}",
            mailer.name,
            mailer.path,
            mailer.max_octets.unwrap_or(0),
            mailer.line_octets.unwrap_or(0),
            mailer.arguments
        )?;
    }
    Ok(())
}

fn rules(rewriting: Rewriting) -> (&'static str, &'static str) {
    match rewriting {
        Rewriting::Local => ("EnvFromL/HdrFromL", "EnvToL/HdrToL"),
        Rewriting::LocalLmtp => ("EnvFromSMTP/HdrFromL", "EnvToL/HdrToL"),
        Rewriting::Smtp => ("EnvFromSMTP/HdrFromSMTP", "EnvToSMTP/EnvToSMTP"),
        Rewriting::Relay => ("EnvFromSMTP/HdrFromSMTP", "MasqSMTP/MasqSMTP"),
        Rewriting::SmtpBoth => ("EnvFromSMTP/HdrFromSMTP", "EnvToSMTP/HdrFromSMTP"),
        Rewriting::None => ("parse/parse", "parse/parse"),
    }
}
