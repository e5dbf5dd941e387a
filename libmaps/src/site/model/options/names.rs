//! Greeting and privacy, addresses and aliases, files and owners.

use std::path::PathBuf;

use super::option_group;
use super::privacy::Privacy;
use super::values::{Limit, Minutes, Mode, Words};

option_group! {
    /// What a client is told, and what it may ask.
    Greeting {
        /// Text of the greeting, with macros.
        message: String = "SmtpGreetingMessage", "confSMTP_LOGIN_MSG", "$j Sendmail $v ready at $b";
        /// Name in our own EHLO; empty means `$j`.
        helo_name: String = "HeloName", "confHELO_NAME", "";
        /// Take HELO without an argument, or with nonsense.
        allow_bogus_helo: bool = "AllowBogusHELO", "confALLOW_BOGUS_HELO", "False";
        /// SMTPUTF8 (RFC 6531) is offered.
        smtputf8: bool = "SMTPUTF8", "confSMTPUTF8", "False";
        /// Privacy flags.
        privacy: Privacy = "PrivacyOptions", "confPRIVACY_FLAGS", "";
        /// Refuse messages with NUL (this suite always does).
        reject_nul: bool = "RejectNUL", "confREJECT_NUL", "False";
        /// How much is logged.
        log_level: i64 = "LogLevel", "confLOG_LEVEL", "9";
    }
}

option_group! {
    /// How addresses are read and written.
    Addresses {
        /// Characters that end a token.
        operators: String = "OperatorChars", "confOPERATORS", ".:@[]";
        /// What replaces blanks inside a local part.
        blank_sub: String = "BlankSub", "confBLANK_SUB", " ";
        /// Colons are fine in addresses.
        colon_ok: bool = "ColonOkInAddr", "confCOLON_OK_IN_ADDR", "True";
        /// Keep source routes.
        dont_prune_routes: bool = "DontPruneRoutes", "confDONT_PRUNE_ROUTES", "False";
        /// Addresses are separated by blanks where no list of the message has a comma, `;`, `<` or `(`.
        old_style_headers: bool = "OldStyleHeaders", "confOLD_STYLE_HEADERS", "False";
        /// Characters that make a full name be quoted.
        must_quote: String = "MustQuoteChars", "confMUST_QUOTE_CHARS", "@,;:\\()[].'";
        /// Join the lines of a `From:` header.
        single_line_from: bool = "SingleLineFromHeader", "confSINGLE_LINE_FROM_HEADER", "False";
        /// The `From ` line of local delivery.
        unix_from_line: String = "UnixFromLine", "confFROM_LINE", "From $g $d";
        /// Keep `From ` lines at the top of the header.
        save_from_lines: bool = "SaveFromLine", "confSAVE_FROM_LINES", "False";
        /// The sender gets the message too where an alias holds him.
        me_too: bool = "MeToo", "confME_TOO", "True";
        /// Recipients are also looked for among full names.
        match_gecos: bool = "MatchGECOS", "confMATCH_GECOS", "False";
        /// newaliases checks right-hand sides.
        check_aliases: bool = "CheckAliases", "confCHECK_ALIASES", "False";
        /// How long a rebuild of aliases is waited for.
        alias_wait: Minutes = "AliasWait", "confALIAS_WAIT", "5m";
        /// IPv6 addresses with `::` in keys and macros.
        compressed_ipv6: bool = "UseCompressedIPv6Addresses", "confUSE_COMPRESSED_IPV6_ADDRESSES", "False";
        /// Leave the addresses of our interfaces out of class w: `False`, `True` or `loopback`.
        dont_probe_interfaces: String = "DontProbeInterfaces", "confDONT_PROBE_INTERFACES", "False";
        /// Modifiers of local submissions, as `${daemon_flags}`.
        direct_submission: String = "DirectSubmissionModifiers", "confDIRECT_SUBMISSION_MODIFIERS", "";
    }
}

impl Addresses {
    /// The octet that stands for a blank inside a local part.
    #[must_use]
    pub fn blank(&self) -> u8 {
        self.blank_sub.bytes().next().unwrap_or(b' ')
    }
}

option_group! {
    /// Where files are, who may own them, and as whom the programs run.
    Files {
        /// Alias files, each perhaps with its map class; see [`Site::alias_files`](crate::site::Site::alias_files).
        aliases: String = "AliasFile", "ALIAS_FILE", "";
        /// The help file.
        help: Option<PathBuf> = "HelpFile", "HELP_FILE", "";
        /// Statistics.
        status: Option<PathBuf> = "StatusFile", "STATUS_FILE", "";
        /// The order of name services.
        service_switch: Option<PathBuf> = "ServiceSwitchFile", "confSERVICE_SWITCH_FILE", "/etc/mail/service.switch";
        /// The hosts file.
        hosts: Option<PathBuf> = "HostsFile", "confHOSTS_FILE", "/etc/hosts";
        /// Process number and command line of the daemon.
        pid: Option<PathBuf> = "PidFile", "confPID_FILE", "/var/run/sendmail.pid";
        /// The control socket.
        control_socket: Option<PathBuf> = "ControlSocketName", "confCONTROL_SOCKET_NAME", "";
        /// Folder below which alone files are delivered to, and shells may be.
        safe_file_environment: Option<PathBuf> = "SafeFileEnvironment", "confSAFE_FILE_ENV", "";
        /// Search path of `.forward` files, with macros; empty for none.
        forward_path: String = "ForwardPath", "confFORWARD_PATH", "$z/.forward";
        /// Mode of other files that are made.
        temp_file_mode: Mode = "TempFileMode", "confTEMP_FILE_MODE", "0600";
        /// File-safety checks that are waived.
        dont_blame: Words = "DontBlameSendmail", "confDONT_BLAME_SENDMAIL", "safe";
        /// User (and group) for mailers without one.
        default_user: String = "DefaultUser", "confDEF_USER_ID", "1:1";
        /// User the daemon becomes.
        run_as_user: String = "RunAsUser", "confRUN_AS_USER", "";
        /// User who may own maps and start the daemon.
        trusted_user: String = "TrustedUser", "confTRUSTED_USER", "";
        /// Group-writable `.forward` and `:include:` files are not trusted (deprecated).
        unsafe_group_writes: bool = "UnsafeGroupWrites", "confUNSAFE_GROUP_WRITES", "True";
        /// Don't call initgroups(3).
        dont_init_groups: bool = "DontInitGroups", "confDONT_INIT_GROUPS", "False";
        /// Where local users are looked up.
        mailbox_database: String = "MailboxDatabase", "confMAILBOX_DATABASE", "pw";
        /// User database files.
        user_database: String = "UserDatabaseSpec", "confUSERDB_SPEC", "";
        /// LDAP defaults.
        ldap_default: String = "LDAPDefaultSpec", "confLDAP_DEFAULT_SPEC", "";
        /// This is a submission program.
        use_msp: bool = "UseMSP", "confUSE_MSP", "False";
        /// Time zone; `USE_SYSTEM`, `USE_TZ` or a zone.
        time_zone: String = "TimeZoneSpec", "confTIME_ZONE", "";
        /// What process titles start with.
        process_title: String = "ProcessTitlePrefix", "confPROCESS_TITLE_PREFIX", "";
        /// Octets of a message held in memory.
        data_buffer_octets: Limit = "DataFileBufferSize", "confDF_BUFFER_SIZE", "4096";
        /// Octets of a transcript held in memory.
        transcript_buffer_octets: Limit = "XscriptFileBufferSize", "confXF_BUFFER_SIZE", "4096";
        /// Folders are synced after a rename.
        requires_dir_fsync: bool = "RequiresDirfsync", "confREQUIRES_DIR_FSYNC", "True";
        /// Shared memory for load figures.
        shared_memory_key: String = "SharedMemoryKey", "confSHARED_MEMORY_KEY", "0";
        /// Where a chosen shared memory key is written.
        shared_memory_key_file: Option<PathBuf> = "SharedMemoryKeyFile", "confSHARED_MEMORY_KEY_FILE", "";
    }
}
