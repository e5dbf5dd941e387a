//! `-o` and `-O`: options of the site, by letter or by name.

use libmaps::site::options as names;
use libmaps::sysexits::SysExit;
use tools::alias_config::Setting;

use super::args::Refusal;

/// The options that any user may set without giving up the rights to the drop folder, as
/// sendmail 8.17.1 let him, which was tried with each.
const SAFE: [&[u8]; 26] = [
    b"AllowBogusHELO",
    b"BadRcptThrottle",
    b"CheckpointInterval",
    b"ColonOkInAddr",
    b"DefaultCharSet",
    b"DeliveryMode",
    b"DialDelay",
    b"EightBitMode",
    b"ErrorMode",
    b"IgnoreDots",
    b"LogLevel",
    b"MaxQueueRunSize",
    b"MaxRecipientsPerMessage",
    b"MeToo",
    b"MinFreeBlocks",
    b"MinQueueAge",
    b"NoRecipientAction",
    b"OldStyleHeaders",
    b"PrivacyOptions",
    b"QueueSortOrder",
    b"RejectNUL",
    b"SendMimeErrors",
    b"SevenBitInput",
    b"SingleLineFromHeader",
    b"SuperSafe",
    b"Verbose",
];

/// Whether an option leaves the caller the rights that the set-group-ID bit lends; so does a
/// letter of no meaning, which has no name.
pub(super) fn is_safe(name: &[u8]) -> bool {
    name.is_empty() || SAFE.contains(&name)
}

/// `-oXVALUE`: the letters that sendmail's callers use.
pub(super) fn by_letter(text: &[u8]) -> Setting {
    let (letter, value) = text.split_first().unwrap_or((&0, b""));
    let name: &[u8] = match letter {
        b'i' => b"IgnoreDots",
        b'd' => b"DeliveryMode",
        b'e' => b"ErrorMode",
        b'm' => b"MeToo",
        b'o' => b"OldStyleHeaders",
        b'7' => b"SevenBitInput",
        b'b' => b"MinFreeBlocks",
        b'r' => b"Timeout",
        b'U' => b"UserDatabaseSpec",
        b'L' => b"LogLevel",
        b'p' => b"PrivacyOptions",
        b'X' => b"RefuseLA",
        b'x' => b"QueueLA",
        _ => return Setting::by_letter(text),
    };
    Setting {
        name: name.to_vec(),
        value: value.to_vec(),
    }
}

/// `-O NAME=VALUE`; the name may be cut short.
pub(super) fn by_name(text: &[u8]) -> Result<Setting, Refusal> {
    let written = text.split(|c| *c == b'=').next().unwrap_or_default();
    let written = written.trim_ascii();
    if names::known(written).is_none() {
        let name = String::from_utf8_lossy(written);
        let text = match names::ambiguous(written) {
            Some((first, second)) => {
                format!("readcf: ambiguous option name {name} (matches {first} and {second})")
            }
            None => format!("readcf: unknown option name {name}"),
        };
        return Err(Refusal::new(SysExit::Software, text));
    }
    let mut setting = Setting::by_name(text);
    // Timeout.queuereturn and its like keep what stands behind the dot.
    if let Some(dot) = written.iter().position(|c| *c == b'.') {
        let tail = written.get(dot..).unwrap_or_default();
        setting.name.extend_from_slice(tail);
    }
    Ok(setting)
}

/// Whether sendmail knows the mode; all of them mean the same here.
pub(super) fn check_delivery_mode(value: &[u8]) -> Result<(), Refusal> {
    match value.first() {
        None | Some(b'b' | b'i' | b'q' | b'd' | b'B' | b'I' | b'Q' | b'D') => Ok(()),
        Some(other) => {
            let text = format!("Unknown delivery mode {}", char::from(*other));
            Err(Refusal::usage(text))
        }
    }
}
