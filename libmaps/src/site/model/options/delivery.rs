//! The queue and delivery.

use std::path::PathBuf;

use super::option_group;
use super::values::{Limit, Minutes, Mode, Seconds};

option_group! {
    /// The queue.
    Queue {
        /// The queue folder.
        directory: Option<PathBuf> = "QueueDirectory", "QUEUE_DIR", "/var/spool/mqueue";
        /// `True`: sync before 250; `Interactive`, `PostMilter`, `False`: less.
        super_safe: String = "SuperSafe", "confSAFE_QUEUE", "True";
        /// Mode of queue files.
        file_mode: Mode = "QueueFileMode", "confQUEUE_FILE_MODE", "0600";
        /// Time between two tries of a message.
        min_age: Minutes = "MinQueueAge", "confMIN_QUEUE_AGE", "0s";
        /// Longest such time where it grows; 0 for a constant one.
        max_age: Minutes = "MaxQueueAge", "confMAX_QUEUE_AGE", "0s";
        /// Messages tried in one queue run.
        max_run_size: Limit = "MaxQueueRunSize", "confMAX_QUEUE_RUN_SIZE", "0";
        /// `priority`, `host`, `time`, `filename`, `modification`, `none`, `random`.
        sort_order: String = "QueueSortOrder", "confQUEUE_SORT_ORDER", "priority";
        /// Queue runners at one time.
        max_children: Limit = "MaxQueueChildren", "confMAX_QUEUE_CHILDREN", "0";
        /// Queue runners of a queue group.
        max_runners: i64 = "MaxRunnersPerQueue", "confMAX_RUNNERS_PER_QUEUE", "1";
        /// Priority of queue runners, as for nice(2).
        nice: String = "NiceQueueRun", "confNICE_QUEUE_RUN", "";
        /// Multiplier for the decision to queue only.
        factor: i64 = "QueueFactor", "confQUEUE_FACTOR", "600000";
        /// Priority lost for each recipient.
        recipient_factor: i64 = "RecipientFactor", "confWORK_RECIPIENT_FACTOR", "30000";
        /// Priority gained for each step of precedence.
        class_factor: i64 = "ClassFactor", "confWORK_CLASS_FACTOR", "1800";
        /// Priority lost for each try.
        retry_factor: i64 = "RetryFactor", "confWORK_TIME_FACTOR", "90000";
        /// Each queued message in a process of its own.
        fork_each_job: bool = "ForkEachJob", "confSEPARATE_PROC", "False";
        /// Split envelopes without looking at MX first: 0, 1 or most processes.
        fast_split: String = "FastSplit", "confFAST_SPLIT", "1";
        /// Recipients after which the queue file is written again.
        checkpoint_interval: i64 = "CheckpointInterval", "confCHECKPOINT_INTERVAL", "10";
    }
}

option_group! {
    /// Delivery.
    Delivery {
        /// `background`, `interactive`, `queue` or `deferred`; the first letter counts.
        mode: String = "DeliveryMode", "confDELIVERY_MODE", "background";
        /// `print`, `quiet`, `mail`, `write` or `berknet`: what happens to errors of local submissions.
        error_mode: String = "ErrorMode", "confERROR_MODE", "print";
        /// Text, or a path, that stands before error messages.
        error_header: String = "ErrorHeader", "confERROR_MESSAGE", "";
        /// Answer 4xx where the answer would be 5xx.
        soft_bounce: bool = "SoftBounce", "confSOFT_BOUNCE", "False";
        /// Who gets a copy of bounces.
        postmaster_copy: String = "PostmasterCopy", "confCOPY_ERRORS_TO", "";
        /// Who gets errors that occur while sending errors.
        double_bounce_address: String = "DoubleBounceAddress", "confDOUBLE_BOUNCE_ADDRESS", "postmaster";
        /// Where a message goes that nobody else takes.
        dead_letter_drop: Option<PathBuf> = "DeadLetterDrop", "confDEAD_LETTER_DROP", "";
        /// Bounces in MIME.
        send_mime_errors: bool = "SendMimeErrors", "confMIME_FORMAT_ERRORS", "True";
        /// Host that takes mail when all MX fail.
        fallback_mx: String = "FallbackMXhost", "confFALLBACK_MX", "";
        /// Host that takes mail when a name does not resolve or all MX fail.
        fallback_smart_host: String = "FallbackSmartHost", "confFALLBACK_SMARTHOST", "";
        /// Being the best MX without taking the mail is no error: deliver by address.
        try_null_mx_list: bool = "TryNullMXList", "confTRY_NULL_MX_LIST", "False";
        /// Connect here whatever the route says (for tests).
        connect_only_to: String = "ConnectOnlyTo", "confCONNECT_ONLY_TO", "";
        /// Open connections kept at one time.
        connection_cache_size: i64 = "ConnectionCacheSize", "confMCI_CACHE_SIZE", "1";
        /// How long they are kept.
        connection_cache_timeout: Minutes = "ConnectionCacheTimeout", "confMCI_CACHE_TIMEOUT", "5m";
        /// Don't connect to mailers marked expensive at submission.
        hold_expensive: bool = "HoldExpensive", "confCON_EXPENSIVE", "False";
        /// Wait before a second connection attempt.
        dial_delay: Seconds = "DialDelay", "confDIAL_DELAY", "0s";
        /// Folder where the status of hosts is kept.
        host_status_directory: Option<PathBuf> = "HostStatusDirectory", "confHOST_STATUS_DIRECTORY", "";
        /// One delivery to a host at a time.
        single_thread: bool = "SingleThreadDelivery", "confSINGLE_THREAD_DELIVERY", "False";
        /// `mimefy`, `pass8` or `strict`; the first letter counts.
        eight_bit_mode: String = "EightBitMode", "confEIGHT_BIT_HANDLING", "pass8";
        /// Strip input to 7 bits.
        seven_bit_input: bool = "SevenBitInput", "confSEVEN_BIT_INPUT", "False";
        /// Character set of 8-bit text that names none.
        default_charset: String = "DefaultCharSet", "confDEF_CHAR_SET", "unknown-8bit";
        /// `none`, `add-to`, `add-apparently-to`, `add-bcc`, `add-to-undisclosed`.
        no_recipient_action: String = "NoRecipientAction", "confNO_RCPT_ACTION", "none";
        /// Send errors to `Errors-To:`.
        use_errors_to: bool = "UseErrorsTo", "confUSE_ERRORS_TO", "False";
        /// `Return-Receipt-To:` asks for a DSN.
        rrt_implies_dsn: bool = "RrtImpliesDsn", "confRRT_IMPLIES_DSN", "False";
        /// Flags of the name resolver.
        resolver_options: String = "ResolverOptions", "confBIND_OPTS", "";
        /// Leave CNAMEs as they are.
        dont_expand_cnames: bool = "DontExpandCnames", "confDONT_EXPAND_CNAMES", "False";
        /// Add `Bcc:` copies (FEATURE bcc).
        add_bcc: bool = "AddBcc", "confADD_BCC", "False";
    }
}
