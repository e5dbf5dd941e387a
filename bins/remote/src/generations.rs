//! `mapremote generations` and `rollback`.

use std::io::{self, Write};

use libmaps::store::shared::Connection;
use libmaps::sysexits::SysExit;
use serde_json::json;

use crate::course::{self, next_serial};
use crate::engine::{Current, Engine, Generation, Switch};
use crate::fault::Fault;
use crate::log::Style;
use crate::replica::{self, How};

/// Prints the generations that the engine keeps, the newest first.
///
/// # Errors
/// The engine can't be asked, or has no such map.
pub async fn print<E: Engine>(connection: &Connection, style: Style) -> Result<(), Fault> {
    let mut engine = E::connect(&connection.server).await?;
    let Some(head) = engine.look(connection).await? else {
        return Err(no_such_map(connection));
    };
    let all = engine.generations(&connection.map).await?;
    let here = replica::origin(&connection.replica);
    let marks = replica::marks(&mut engine, connection, here.as_ref()).await?;
    engine.leave().await?;
    let current = head.current.generation().map(|g| g.origin.clone());
    let mut out = io::stdout().lock();
    for generation in &all.whole {
        let is_current = current.as_ref() == Some(&generation.origin);
        let is_here = here.as_ref() == Some(&generation.origin);
        match style {
            Style::Json => writeln!(out, "{}", object(generation, is_current, is_here))?,
            Style::Text => writeln!(out, "{}", line(generation, is_current, is_here))?,
        }
    }
    for (number, fault) in &all.broken {
        match style {
            Style::Json => {
                let broken = json!({"generation": number, "error": fault.to_string()});
                writeln!(out, "{broken}")?;
            }
            Style::Text => writeln!(out, "{number}: broken: {fault}")?,
        }
    }
    if let (Style::Text, Current::Broken(fault)) = (style, &head.current) {
        writeln!(out, "{fault}")?;
    }
    if let (Some(_), Some(wanted), Style::Text) = (&here, head.current.generation(), style)
        && here.as_ref() != current.as_ref()
        && let Err(fault) = course::check(here.as_ref(), wanted, &all, &marks)
    {
        writeln!(out, "{fault}")?;
    }
    if let (Some(here), Style::Text) = (&here, style)
        && !all.whole.iter().any(|g| g.origin == *here)
    {
        let number = here.generation;
        writeln!(
            out,
            "the replica holds generation {number}, which is not kept any more"
        )?;
    }
    out.flush()?;
    Ok(())
}

fn object(generation: &Generation, is_current: bool, is_here: bool) -> serde_json::Value {
    let offer = &generation.offer;
    json!({
        "generation": generation.origin.generation,
        "current": is_current,
        "replica": is_here,
        "entries": offer.digest.entries(),
        "difference_from": generation.base,
        "keys_changed": generation.keys(),
        "age_seconds": generation.age.as_secs_f64(),
        "program": offer.program,
        "host": generation.host,
        "source": offer.source,
        "digest": offer.digest.to_string(),
    })
}

fn line(generation: &Generation, is_current: bool, is_here: bool) -> String {
    let difference = match (generation.base, generation.keys()) {
        (Some(base), Some(keys)) => format!(", {keys} keys changed from {base}"),
        _ => String::new(),
    };
    let current = if is_current { ", current" } else { "" };
    let here = if is_here { ", replica" } else { "" };
    format!(
        "{}: {} entries{difference}, {} ago by {} on {}{current}{here}",
        generation.origin.generation,
        generation.offer.digest.entries(),
        since(generation.age.as_secs()),
        generation.offer.program,
        generation.host,
    )
}

fn since(seconds: u64) -> String {
    match seconds {
        0..120 => format!("{seconds} s"),
        120..7_200 => format!("{} min", seconds / 60),
        7_200..172_800 => format!("{} h", seconds / 3_600),
        _ => format!("{} d", seconds / 86_400),
    }
}

/// Makes an older generation the current one.
///
/// # Errors
/// The engine can't be asked, or does not have the generation.
pub async fn rollback<E: Engine>(connection: &Connection, number: u64) -> Result<(), Fault> {
    let mut engine = E::connect(&connection.server).await?;
    if engine.look(connection).await?.is_none() {
        return Err(no_such_map(connection));
    }
    engine.leave().await?;
    let head = engine.lock(&connection.map).await?;
    let all = engine.generations(&connection.map).await?;
    let found = all.whole.iter().find(|g| g.origin.generation == number);
    let Some(generation) = found else {
        let kept: Vec<String> = all
            .whole
            .iter()
            .map(|g| g.origin.generation.to_string())
            .collect();
        let why = format!(
            "generation {number} is not kept; there are {}",
            kept.join(", ")
        );
        return Err(Fault::new(SysExit::Unavailable, why));
    };
    let here = replica::origin(&connection.replica);
    let current = head.current.generation();
    let current = current.filter(|current| current.origin == generation.origin);
    if let Some(current) = current {
        let marks = replica::marks(&mut engine, connection, here.as_ref()).await?;
        // Where the engine does not go on from what is here, the switch says that its generation
        // counts all the same.
        let is_known = here.as_ref() == Some(&current.origin)
            || course::check(here.as_ref(), current, &all, &marks).is_ok();
        if is_known {
            return Ok(());
        }
    }
    let mut generation = generation.clone();
    generation.origin.serial = Some(next_serial(head.serial, here.as_ref()));
    let switch = Switch::Back(&generation);
    engine
        .commit(&connection.map, switch, here.as_ref())
        .await?;
    if here.is_none() {
        return Ok(());
    }
    // As after an edit: what this host reads is what it made current, follower or not.
    bring(&mut engine, connection).await.map_err(|fault| Fault {
        why: format!("it is current now, but not the replica here yet: {fault}"),
        ..fault
    })
}

/// Makes the current generation the replica.
async fn bring<E: Engine>(engine: &mut E, connection: &Connection) -> Result<(), Fault> {
    let Some(head) = engine.look(connection).await? else {
        return engine.leave().await;
    };
    if let Some(current) = head.current.known()? {
        replica::update(engine, connection, &current, How::AtAnyPrice).await?;
    }
    engine.leave().await
}

fn no_such_map(connection: &Connection) -> Fault {
    let why = format!("the engine has no map {}", connection.map);
    Fault::new(SysExit::Unavailable, why)
}
