//! The names of sendmail's options.
//!
//! From the *Sendmail Installation and Operation Guide*, section 5.6: an
//! option is written with its name, which may be cut short where no other
//! begins the same, or with an old letter.

/// Every option of sendmail 8.17 by name.
const NAMES: &[&str] = &[
    "AliasFile",
    "AliasWait",
    "AllowBogusHELO",
    "AllowNonRFCMXtargets",
    "AuthMaxBits",
    "AuthMechanisms",
    "AuthOptions",
    "AuthRealm",
    "BadRcptShutdown",
    "BadRcptShutdownGood",
    "BadRcptThrottle",
    "BadRcptThrottleDelay",
    "BindTo",
    "BlankSub",
    "BounceAddrSelection",
    "CACertFile",
    "CACertPath",
    "CertFingerprintAlgorithm",
    "CheckAliases",
    "CheckpointInterval",
    "CipherList",
    "CipherSuites",
    "ClassFactor",
    "ClientCertFile",
    "ClientKeyFile",
    "ClientPortOptions",
    "ClientSSLOptions",
    "ColonOkInAddr",
    "ConnectOnlyTo",
    "ConnectionCacheSize",
    "ConnectionCacheTimeout",
    "ConnectionRateThrottle",
    "ConnectionRateWindowSize",
    "ControlSocketName",
    "CRLFile",
    "CRLPath",
    "DHParameters",
    "DaemonPortOptions",
    "DataFileBufferSize",
    "DeadLetterDrop",
    "DefaultAuthInfo",
    "DefaultCharSet",
    "DefaultUser",
    "DelayLA",
    "DeliverByMin",
    "DeliveryMode",
    "DialDelay",
    "DirectSubmissionModifiers",
    "DontBlameSendmail",
    "DontExpandCnames",
    "DontInitGroups",
    "DontProbeInterfaces",
    "DontPruneRoutes",
    "DoubleBounceAddress",
    "EightBitMode",
    "ErrorHeader",
    "ErrorMode",
    "FallbackMXhost",
    "FallbackSmartHost",
    "FastSplit",
    "ForkEachJob",
    "ForwardPath",
    "HeloName",
    "HelpFile",
    "HoldExpensive",
    "HostStatusDirectory",
    "HostsFile",
    "IgnoreDots",
    "InputMailFilters",
    "LDAPDefaultSpec",
    "LogLevel",
    "MailboxDatabase",
    "MatchGECOS",
    "MaxAliasRecursion",
    "MaxDaemonChildren",
    "MaxHeadersLength",
    "MaxHopCount",
    "MaxMessageSize",
    "MaxMimeHeaderLength",
    "MaxNOOPCommands",
    "MaxQueueAge",
    "MaxQueueChildren",
    "MaxQueueRunSize",
    "MaxRecipientsPerMessage",
    "MaxRunnersPerQueue",
    "MeToo",
    "Milter",
    "MilterBodySize",
    "MinFreeBlocks",
    "MinQueueAge",
    "MustQuoteChars",
    "NiceQueueRun",
    "NoRecipientAction",
    "OldStyleHeaders",
    "OperatorChars",
    "PidFile",
    "PostmasterCopy",
    "PrivacyOptions",
    "ProcessTitlePrefix",
    "QueueDirectory",
    "QueueFactor",
    "QueueFileMode",
    "QueueLA",
    "QueueSortOrder",
    "QueueTimeout",
    "RandFile",
    "RecipientFactor",
    "RefuseLA",
    "RejectLogInterval",
    "RejectNUL",
    "RequiresDirfsync",
    "ResolverOptions",
    "RetryFactor",
    "RrtImpliesDsn",
    "RunAsUser",
    "SafeFileEnvironment",
    "SaveFromLine",
    "SendMimeErrors",
    "ServerCertFile",
    "ServerKeyFile",
    "ServerSSLOptions",
    "ServiceSwitchFile",
    "SetCertAltnames",
    "SevenBitInput",
    "SharedMemoryKey",
    "SharedMemoryKeyFile",
    "SingleLineFromHeader",
    "SingleThreadDelivery",
    "SmtpGreetingMessage",
    "SMTPUTF8",
    "SoftBounce",
    "SSLEngine",
    "SSLEnginePath",
    "StatusFile",
    "StrictTransportSecurity",
    "SuperSafe",
    "TLSFallbacktoClear",
    "TLSSrvOptions",
    "TempFileMode",
    "Timeout",
    "TimeZoneSpec",
    "TrustedUser",
    "TryNullMXList",
    "UnixFromLine",
    "UnsafeGroupWrites",
    "UseCompressedIPv6Addresses",
    "UseErrorsTo",
    "UseMSP",
    "UserDatabaseSpec",
    "UserSubmission",
    "Verbose",
    "XscriptFileBufferSize",
];

/// The letters of old that still mean an option.
const LETTERS: &[(u8, &str)] = &[
    (b'a', "AliasWait"),
    (b'A', "AliasFile"),
    (b'B', "BlankSub"),
    (b'n', "CheckAliases"),
    (b'Q', "QueueDirectory"),
    (b'v', "Verbose"),
];

/// The option of a letter; a letter that means another one gives an empty name.
#[must_use]
pub fn of_letter(letter: u8) -> &'static str {
    let found = LETTERS.iter().find(|(l, _)| *l == letter);
    found.map_or("", |(_, name)| name)
}

/// What sendmail says of a name that means no option, or could mean several.
#[must_use]
pub fn fault(written: &[u8]) -> Option<String> {
    if known(written).is_some() {
        return None;
    }
    let name = String::from_utf8_lossy(written);
    Some(match ambiguous(written) {
        Some((first, second)) => {
            format!("readcf: ambiguous option name {name} (matches {first} and {second})")
        }
        None => format!("readcf: unknown option name {name}"),
    })
}

/// The full name of what may be cut short; an unknown name as it is.
#[must_use]
pub fn long_name(written: &[u8]) -> Vec<u8> {
    match known(written) {
        Some(name) => name.as_bytes().to_vec(),
        None => written.to_vec(),
    }
}

/// The option that a name, whole or cut short, in capitals or not, means.
#[must_use]
pub fn known(written: &[u8]) -> Option<&'static str> {
    // Timeout.queuereturn and its like are options of their own in sendmail.
    let head = written.split(|c| *c == b'.').next().unwrap_or(written);
    let whole = NAMES
        .iter()
        .find(|n| n.as_bytes().eq_ignore_ascii_case(head));
    if whole.is_some() {
        return whole.copied();
    }
    let mut shortened = beginning_with(head);
    match (shortened.next(), shortened.next()) {
        (Some(name), None) => Some(name),
        _ => None,
    }
}

/// The first two options that a name cut too short could mean.
#[must_use]
pub fn ambiguous(written: &[u8]) -> Option<(&'static str, &'static str)> {
    if known(written).is_some() {
        return None;
    }
    let head = written.split(|c| *c == b'.').next().unwrap_or(written);
    let mut shortened = beginning_with(head);
    shortened.next().zip(shortened.next())
}

fn beginning_with(head: &[u8]) -> impl Iterator<Item = &'static str> {
    NAMES.iter().copied().filter(move |name| {
        let name = name.as_bytes().get(..head.len());
        !head.is_empty() && name.is_some_and(|name| name.eq_ignore_ascii_case(head))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_may_be_cut_short() {
        assert_eq!(known(b"aliasfile"), Some("AliasFile"));
        assert_eq!(known(b"AliasF"), Some("AliasFile"));
        assert_eq!(known(b"Alias"), None);
        let both = Some(("MinFreeBlocks", "MinQueueAge"));
        assert_eq!(ambiguous(b"Min"), both);
        assert_eq!(ambiguous(b"FooBar"), None);
        assert_eq!(known(b"Timeout.queuereturn"), Some("Timeout"));
        assert_eq!(known(b"FooBar"), None);
        assert_eq!(known(b""), None);
    }
}
