//! How much of anything is allowed.

use super::option_group;
use super::values::{Hours, Limit, Load, Seconds, ShortestTime};

option_group! {
    /// Limits on connections, messages, recipients, load and recursion.
    Limits {
        /// Octets of a message, announced as SIZE.
        max_message_octets: Limit = "MaxMessageSize", "confMAX_MESSAGE_SIZE", "0";
        /// Octets of all headers of a message together.
        max_headers_octets: Limit = "MaxHeadersLength", "confMAX_HEADERS_LENGTH", "32768";
        /// `total/part` octets of a MIME header and of one of its parameters.
        max_mime_header: String = "MaxMimeHeaderLength", "confMAX_MIME_HEADER_LENGTH", "0/0";
        /// `Received:` headers after which a message loops.
        max_hops: i64 = "MaxHopCount", "confMAX_HOP", "25";
        /// Recipients of one envelope.
        max_recipients: Limit = "MaxRecipientsPerMessage", "confMAX_RCPTS_PER_MESSAGE", "0";
        /// Refused recipients after which each further one waits a second.
        bad_recipient_throttle: Limit = "BadRcptThrottle", "confBAD_RCPT_THROTTLE", "0";
        /// Useless commands after which replies slow down.
        max_noop_commands: Limit = "MaxNOOPCommands", "confMAX_NOOP_COMMANDS", "20";
        /// Depth of alias expansion.
        max_alias_recursion: i64 = "MaxAliasRecursion", "confMAX_ALIAS_RECURSION", "10";
        /// Sessions and queue runners at one time.
        max_daemon_children: Limit = "MaxDaemonChildren", "confMAX_DAEMON_CHILDREN", "0";
        /// New connections a second, for each daemon.
        connection_rate: Limit = "ConnectionRateThrottle", "confCONNECTION_RATE_THROTTLE", "0";
        /// Window over which the rate of a client is counted.
        connection_rate_window: Seconds = "ConnectionRateWindowSize", "confCONNECTION_RATE_WINDOW_SIZE", "60s";
        /// `redis:path`: where hosts count the connections of clients together; an option of this suite.
        connection_rate_map: String = "ConnectionRateMap", "confCONNECTION_RATE_MAP", "";
        /// Load at which messages are only queued; empty means 8 for each processor.
        queue_load: Load = "QueueLA", "confQUEUE_LA", "";
        /// Load at which connections are refused; empty means 12 for each processor.
        refuse_load: Load = "RefuseLA", "confREFUSE_LA", "";
        /// Load at which connections are delayed.
        delay_load: Load = "DelayLA", "confDELAY_LA", "0";
        /// How often a lasting refusal of connections is logged.
        reject_log_interval: Hours = "RejectLogInterval", "confREJECT_LOG_INTERVAL", "3h";
        /// Blocks that must be free on the queue's file system.
        min_free_blocks: Limit = "MinFreeBlocks", "confMIN_FREE_BLOCKS", "0";
        /// Shortest time DELIVERBY may ask for; below 0 it is not announced.
        deliver_by_min: ShortestTime = "DeliverByMin", "confDELIVER_BY_MIN", "0";
    }
}
