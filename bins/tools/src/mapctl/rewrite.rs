//! `mapctl rewrite`: what an address becomes in a header or an envelope.

use std::io::{self, BufWriter, Write};

use clap::Args;
use libmaps::policy::rewrite::AddressRole;
use libmaps::sysexits::SysExit;
use serde_json::json;

use super::name::SiteArgs;
use super::{Failure, Outcome, Style};
use crate::consult::{Consultant, Given};

/// Show what an address becomes in a header or an envelope: masquerading, genericstable, domaintable.
#[derive(Debug, Args)]
pub(crate) struct RewriteArgs {
    #[command(flatten)]
    site: SiteArgs,
    /// As what: header-sender, header-recipient, envelope-sender or envelope-recipient; without it as each of them.
    #[arg(long = "as", value_name = "ROLE")]
    role: Option<AddressRole>,
    /// For which mailer.
    #[arg(long, value_name = "MAILER", default_value = "esmtp")]
    mailer: String,
    /// Show the lookups too.
    #[arg(long)]
    trace: bool,
    /// The address, or several.
    #[arg(required = true)]
    address: Vec<String>,
}

/// Prints a line for each address and role.
pub(crate) fn rewrite(args: &RewriteArgs, style: Style) -> Outcome {
    let consultant = Consultant::open(args.site.root.as_deref(), args.site.config.as_deref())
        .map_err(|error| Failure::Other(error.exit(), error.to_string()))?;
    let mailer = consultant.site.mailers.get(&args.mailer).ok_or_else(|| {
        let names = consultant.site.mailers.defined.iter();
        let names: Vec<&str> = names.map(|mailer| mailer.name.as_str()).collect();
        let names = names.join(", ");
        let text = format!("no mailer {}; the site has {names}", args.mailer);
        Failure::Other(SysExit::Usage, text)
    })?;
    let given = Given::default();
    let names = consultant.names(&given);
    let addressing = consultant.addressing(&names, "");
    let roles = match args.role {
        Some(role) => vec![role],
        None => AddressRole::ALL.to_vec(),
    };
    let mut out = BufWriter::new(io::stdout().lock());
    for address in &args.address {
        for role in &roles {
            let decision = addressing
                .rewrite(*role, mailer, address.as_bytes())
                .map_err(|error| Failure::Other(error.exit(), error.to_string()))?;
            let result = String::from_utf8_lossy(&decision.outcome);
            match style {
                Style::Json => {
                    let object = json!({
                        "address": address,
                        "as": role.as_str(),
                        "mailer": mailer.name,
                        "result": result,
                    });
                    writeln!(out, "{object}")?;
                }
                Style::Text if args.role.is_some() => writeln!(out, "{result}")?,
                Style::Text => writeln!(out, "{:18} {result}", role.as_str())?,
            }
            if args.trace && style == Style::Text {
                write!(out, "{}", decision.trace)?;
            }
        }
    }
    out.flush()?;
    Ok(SysExit::Ok)
}
