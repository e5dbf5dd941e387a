//! `Timeout.*`: how long each step may take.

use super::option_group;
use super::values::{Days, Hours, Minutes, Seconds};

option_group! {
    /// Time-outs; 0 means no limit, or for `ident` that nobody is asked (op.me, section 4.1).
    Timeouts {
        /// Waiting for the greeting of a server.
        initial: Minutes = "Timeout.initial", "confTO_INITIAL", "5m";
        /// A connection attempt (0: as long as the kernel tries).
        connect: Minutes = "Timeout.connect", "confTO_CONNECT", "0s";
        /// All connection attempts of one delivery together.
        aconnect: Minutes = "Timeout.aconnect", "confTO_ACONNECT", "0s";
        /// The first connection attempt to a host for a message.
        iconnect: Minutes = "Timeout.iconnect", "confTO_ICONNECT", "0s";
        /// Reply to HELO or EHLO.
        helo: Minutes = "Timeout.helo", "confTO_HELO", "5m";
        /// Reply to MAIL.
        mail: Minutes = "Timeout.mail", "confTO_MAIL", "10m";
        /// Reply to RCPT.
        rcpt: Minutes = "Timeout.rcpt", "confTO_RCPT", "1h";
        /// Reply to DATA.
        data_init: Minutes = "Timeout.datainit", "confTO_DATAINIT", "5m";
        /// A block of the message, as server and as client.
        data_block: Minutes = "Timeout.datablock", "confTO_DATABLOCK", "1h";
        /// Reply to the final dot.
        data_final: Minutes = "Timeout.datafinal", "confTO_DATAFINAL", "1h";
        /// Reply to RSET.
        rset: Minutes = "Timeout.rset", "confTO_RSET", "5m";
        /// Reply to QUIT.
        quit: Minutes = "Timeout.quit", "confTO_QUIT", "2m";
        /// Reply to any other command.
        misc: Minutes = "Timeout.misc", "confTO_MISC", "2m";
        /// As server: the next command of a client.
        command: Minutes = "Timeout.command", "confTO_COMMAND", "1h";
        /// RFC 1413 queries; 0 asks nobody.
        ident: Seconds = "Timeout.ident", "confTO_IDENT", "5s";
        /// Opening `.forward` and `:include:` files.
        file_open: Seconds = "Timeout.fileopen", "confTO_FILEOPEN", "60s";
        /// The control socket.
        control: Minutes = "Timeout.control", "confTO_CONTROL", "2m";
        /// Reply to LHLO.
        lhlo: Minutes = "Timeout.lhlo", "confTO_LHLO", "2m";
        /// A step of AUTH.
        auth: Minutes = "Timeout.auth", "confTO_AUTH", "10m";
        /// The TLS handshake.
        starttls: Minutes = "Timeout.starttls", "confTO_STARTTLS", "1h";
        /// How long a host's status is remembered.
        host_status: Minutes = "Timeout.hoststatus", "confTO_HOSTSTATUS", "30m";
        /// Age at which a message is returned.
        queue_return: Days = "Timeout.queuereturn", "confTO_QUEUERETURN", "5d";
        /// The same, for normal precedence.
        queue_return_normal: Days = "Timeout.queuereturn.normal", "confTO_QUEUERETURN_NORMAL", "5d";
        /// The same, for urgent messages.
        queue_return_urgent: Days = "Timeout.queuereturn.urgent", "confTO_QUEUERETURN_URGENT", "5d";
        /// The same, for non-urgent messages.
        queue_return_non_urgent: Days = "Timeout.queuereturn.non-urgent", "confTO_QUEUERETURN_NONURGENT", "5d";
        /// The same, for delivery status notifications.
        queue_return_dsn: Days = "Timeout.queuereturn.dsn", "confTO_QUEUERETURN_DSN", "5d";
        /// Age at which the sender is told of a delay; 0 tells nobody.
        queue_warn: Hours = "Timeout.queuewarn", "confTO_QUEUEWARN", "0s";
        /// The same, for normal precedence.
        queue_warn_normal: Hours = "Timeout.queuewarn.normal", "confTO_QUEUEWARN_NORMAL", "0s";
        /// The same, for urgent messages.
        queue_warn_urgent: Hours = "Timeout.queuewarn.urgent", "confTO_QUEUEWARN_URGENT", "0s";
        /// The same, for non-urgent messages.
        queue_warn_non_urgent: Hours = "Timeout.queuewarn.non-urgent", "confTO_QUEUEWARN_NONURGENT", "0s";
        /// The same, for delivery status notifications.
        queue_warn_dsn: Hours = "Timeout.queuewarn.dsn", "confTO_QUEUEWARN_DSN", "0s";
        /// First answer of a name server.
        resolver_retrans: Seconds = "Timeout.resolver.retrans", "confTO_RESOLVER_RETRANS", "5s";
        /// The same, at the first delivery attempt.
        resolver_retrans_first: Seconds = "Timeout.resolver.retrans.first", "confTO_RESOLVER_RETRANS_FIRST", "5s";
        /// The same, at later attempts.
        resolver_retrans_normal: Seconds = "Timeout.resolver.retrans.normal", "confTO_RESOLVER_RETRANS_NORMAL", "5s";
        /// How often a name server is asked.
        resolver_retry: i64 = "Timeout.resolver.retry", "confTO_RESOLVER_RETRY", "4";
        /// The same, at the first delivery attempt.
        resolver_retry_first: i64 = "Timeout.resolver.retry.first", "confTO_RESOLVER_RETRY_FIRST", "4";
        /// The same, at later attempts.
        resolver_retry_normal: i64 = "Timeout.resolver.retry.normal", "confTO_RESOLVER_RETRY_NORMAL", "4";
    }
}
