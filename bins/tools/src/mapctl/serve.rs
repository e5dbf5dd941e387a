//! `mapctl serve`: the site's maps and decisions for other mail programs.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use clap::Args;
use libmaps::site::model::MapSpec;
use libmaps::site::{self, Site};
use libmaps::sysexits::SysExit;

use super::{Failure, Outcome};
use crate::serve::policy::{PolicyService, Verbosity};
use crate::serve::site_maps::{Logins, SiteMaps};
use crate::serve::{
    Access, BindError, Limits, ListenAddress, Network, Offer, Service, confinement, log, run,
};

/// Answer other mail programs: maps by the socketmap protocol, decisions as a Postfix policy service.
///
/// An address is unix:/path, inet:host:port, or systemd[:name] for a socket that a service
/// manager passes.
#[derive(Debug, Args)]
pub(super) struct ServeArgs {
    /// Answer lookups of sendmail and Postfix here; may be given several times.
    #[arg(long, value_name = "ADDRESS")]
    socketmap: Vec<ListenAddress>,
    /// Answer Postfix's check_policy_service here; may be given several times.
    #[arg(long, value_name = "ADDRESS")]
    policy: Vec<ListenAddress>,
    /// Serve one more map, as NAME=CLASS:PATH.
    #[arg(long, value_name = "MAP", value_parser = named_map)]
    map: Vec<(String, MapSpec)>,
    /// Serve logins for other servers, too: the authinfo map and AuthInfo: entries.
    #[arg(long)]
    secrets: bool,
    /// Permissions of UNIX sockets.
    #[arg(long, value_name = "MODE", default_value = "0660", value_parser = octal)]
    socket_mode: u32,
    /// Group of UNIX sockets, by name or number.
    #[arg(long, value_name = "GROUP")]
    socket_group: Option<String>,
    /// A host or network that may connect by TCP; without any, only this host may.
    #[arg(long, value_name = "NETWORK")]
    client: Vec<Network>,
    /// Most clients at one time.
    #[arg(long, value_name = "N", default_value_t = 512, value_parser = clap::value_parser!(u32).range(1..=65536))]
    max_connections: u32,
    /// Longest silence of a client, in seconds.
    #[arg(long, value_name = "SECONDS", default_value_t = 600, value_parser = clap::value_parser!(u32).range(1..))]
    idle: u32,
    /// Longest time for one request, in seconds.
    #[arg(long, value_name = "SECONDS", default_value_t = 10, value_parser = clap::value_parser!(u32).range(1..))]
    patience: u32,
    /// Longest reply to a lookup, in octets; Postfix takes 100000, sendmail 1000000.
    #[arg(long, value_name = "OCTETS", default_value_t = 100_000)]
    max_reply: usize,
    /// Keep the rights to open other files and to run programs.
    #[arg(long)]
    unconfined: bool,
    /// Log every decision with every probe.
    #[arg(long)]
    verbose: bool,
    /// Take all paths of the site below this folder.
    #[arg(long, value_name = "DIR")]
    root: Option<PathBuf>,
    /// Read the configuration from this file instead of /etc/mail/sendmail.mc.
    #[arg(short = 'C', long = "config", value_name = "FILE")]
    config: Option<PathBuf>,
}

/// Serves until it is told to stop.
pub(super) fn serve(args: ServeArgs) -> Outcome {
    if args.socketmap.is_empty() && args.policy.is_empty() {
        let text = "serve: say where: --socketmap ADDRESS or --policy ADDRESS".to_owned();
        return Err(Failure::Other(SysExit::Usage, text));
    }
    let access = Access {
        mode: args.socket_mode,
        group: args.socket_group.as_deref().map(group).transpose()?,
        clients: args.client.clone(),
    };
    let limits = Limits {
        connections: usize::try_from(args.max_connections).unwrap_or(usize::MAX),
        idle: Duration::from_secs(args.idle.into()),
        request: Duration::from_secs(args.patience.into()),
    };
    let site = Arc::new(site_of(&args)?);
    let addresses = [args.socketmap.as_slice(), args.policy.as_slice()].concat();
    let reach = (!args.unconfined).then(|| confinement::reach(&site, &args.map, &addresses));
    let mut offers = Vec::new();
    if !args.socketmap.is_empty() {
        let service: Arc<dyn Service> = Arc::new(socketmap(&site, &args)?);
        let offer = |address| Offer {
            service: Arc::clone(&service),
            address,
        };
        offers.extend(args.socketmap.into_iter().map(offer));
    }
    if !args.policy.is_empty() {
        let verbosity = match args.verbose {
            true => Verbosity::Everything,
            false => Verbosity::Refusals,
        };
        let service: Arc<dyn Service> = Arc::new(PolicyService::of(site, verbosity, log)?);
        let offer = |address| Offer {
            service: Arc::clone(&service),
            address,
        };
        offers.extend(args.policy.into_iter().map(offer));
    }
    run(offers, &access, limits, reach.as_ref()).map_err(|error| {
        let exit = match &error {
            BindError::Refused { .. } => SysExit::Usage,
            BindError::Bind { .. } => SysExit::Unavailable,
            BindError::System { .. } => SysExit::OsErr,
        };
        Failure::Other(exit, format!("serve: {error}"))
    })?;
    Ok(SysExit::Ok)
}

fn socketmap(site: &Arc<Site>, args: &ServeArgs) -> Result<SiteMaps, Failure> {
    let logins = match args.secrets {
        true => Logins::Served,
        false => Logins::Kept,
    };
    let maps = SiteMaps::of(site, &args.map, logins, args.max_reply, log)?;
    if maps.names().next().is_none() {
        let text = "serve: the site's configuration has no maps, and --map names none";
        return Err(Failure::Other(SysExit::Config, text.into()));
    }
    maps.look_over();
    Ok(maps)
}

/// The site. Maps of the command line can be served without one, where none was named.
fn site_of(args: &ServeArgs) -> Result<Site, Failure> {
    let none_named = args.root.is_none() && args.config.is_none();
    let loaded = match site::load(args.root.as_deref(), args.config.as_deref()) {
        Ok(loaded) => loaded,
        Err(_) if none_named && args.policy.is_empty() && !args.map.is_empty() => {
            let mut site = Site::default();
            site.options.files.aliases.clear();
            return Ok(site);
        }
        Err(e) => return Err(Failure::Other(e.exit(), e.to_string())),
    };
    if loaded.has_errors() {
        let faults: Vec<String> = loaded.errors().map(ToString::to_string).collect();
        return Err(Failure::Other(SysExit::Config, faults.join("\n")));
    }
    Ok(loaded.site)
}

fn named_map(text: &str) -> Result<(String, MapSpec), String> {
    let parts = text.split_once('=').and_then(|(name, map)| {
        let (class, path) = map.split_once(':')?;
        (!name.is_empty() && !path.is_empty()).then_some((name, class, path))
    });
    let (name, class, path) = parts.ok_or("expected NAME=CLASS:PATH")?;
    if !name.bytes().all(|octet| octet.is_ascii_graphic()) {
        return Err("a name without blanks".into());
    }
    let spec = MapSpec::new(class, path).named(name).as_built();
    match spec.stored().is_some() || spec.is_remote() {
        true => Ok((name.to_owned(), spec)),
        false => Err(format!("{class}: no class of maps; see makemap -l")),
    }
}

fn octal(text: &str) -> Result<u32, String> {
    let mode = u32::from_str_radix(text, 8).ok().filter(|m| *m <= 0o777);
    mode.ok_or("expected permissions in octal digits, such as 0660".into())
}

fn group(name: &str) -> Result<u32, Failure> {
    if let Ok(number) = name.parse() {
        return Ok(number);
    }
    let text = std::fs::read_to_string("/etc/group").unwrap_or_default();
    let number = text.lines().find_map(|line| {
        let mut fields = line.split(':');
        (fields.next() == Some(name)).then(|| fields.nth(1)?.parse().ok())?
    });
    let unknown = || Failure::Other(SysExit::NoUser, format!("{name}: no such group"));
    number.ok_or_else(unknown)
}
