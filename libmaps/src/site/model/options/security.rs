//! AUTH, TLS and mail filters.

use std::path::PathBuf;

use super::option_group;
use super::values::{FilterNames, Letters, Limit, Words};

option_group! {
    /// SMTP AUTH.
    Auth {
        /// Mechanisms announced where Cyrus SASL has them. Check [`Options::given`](super::Options::given)
        /// before offering CRAM-MD5 or DIGEST-MD5.
        mechanisms: Words = "AuthMechanisms", "confAUTH_MECHANISMS", "EXTERNAL GSSAPI KERBEROS_V4 DIGEST-MD5 CRAM-MD5";
        /// The realm; empty means the host name `$j`.
        realm: String = "AuthRealm", "confAUTH_REALM", "";
        /// `A` AUTH= also without authentication, `a` active attacks, `c` credentials, `d` dictionary attacks,
        /// `f` forward secrecy, `m` mutual, `p` no PLAIN or LOGIN without TLS, `y` no anonymous.
        options: Letters = "AuthOptions", "confAUTH_OPTIONS", "";
        /// Most bits of security layer.
        max_bits: Limit = "AuthMaxBits", "confAUTH_MAX_BITS", "0";
        /// File with user and password for outgoing connections (deprecated).
        default_info: Option<PathBuf> = "DefaultAuthInfo", "confDEF_AUTH_INFO", "";
    }
}

option_group! {
    /// STARTTLS.
    Tls {
        /// The server's certificate: PEM, one file or two separated by a comma.
        server_cert: Option<PathBuf> = "ServerCertFile", "confSERVER_CERT", "";
        /// The server's private key.
        server_key: Option<PathBuf> = "ServerKeyFile", "confSERVER_KEY", "";
        /// The client's certificate.
        client_cert: Option<PathBuf> = "ClientCertFile", "confCLIENT_CERT", "";
        /// The client's private key.
        client_key: Option<PathBuf> = "ClientKeyFile", "confCLIENT_KEY", "";
        /// Folder of hashed CA certificates.
        ca_path: Option<PathBuf> = "CACertPath", "confCACERT_PATH", "";
        /// File of CA certificates, whose names are sent to clients.
        ca_file: Option<PathBuf> = "CACertFile", "confCACERT", "";
        /// Revocation lists in a file.
        crl_file: Option<PathBuf> = "CRLFile", "confCRL", "";
        /// Revocation lists in a folder.
        crl_path: Option<PathBuf> = "CRLPath", "confCRL_PATH", "";
        /// Diffie-Hellman parameters.
        dh_parameters: String = "DHParameters", "confDH_PARAMETERS", "";
        /// Source of random octets.
        random_file: String = "RandFile", "confRAND_FILE", "";
        /// OpenSSL's cipher list for TLS 1.2 and older.
        cipher_list: String = "CipherList", "confCIPHER_LIST", "";
        /// Cipher suites of TLS 1.3.
        cipher_suites: String = "CipherSuites", "confCIPHER_SUITES", "";
        /// `+SSL_OP_...` and `-SSL_OP_...` for the server.
        server_options: Words = "ServerSSLOptions", "confSERVER_SSL_OPTIONS", "";
        /// `+SSL_OP_...` and `-SSL_OP_...` for the client.
        client_options: Words = "ClientSSLOptions", "confCLIENT_SSL_OPTIONS", "";
        /// `V`: ask no client certificate; `C`: CRLs must be readable.
        srv_options: Letters = "TLSSrvOptions", "confTLS_SRV_OPTIONS", "";
        /// Try again without TLS when a handshake fails.
        fallback_to_clear: bool = "TLSFallbacktoClear", "confTLS_FALLBACK_TO_CLEAR", "False";
        /// Digest of `${cert_fp}`.
        fingerprint: String = "CertFingerprintAlgorithm", "confCERT_FINGERPRINT_ALGORITHM", "";
        /// DANE: `false`, `true` or `always`.
        dane: String = "DANE", "confDANE", "false";
        /// OpenSSL engine.
        engine: String = "SSLEngine", "confSSL_ENGINE", "";
        /// Where OpenSSL engines are.
        engine_path: Option<PathBuf> = "SSLEnginePath", "confSSL_ENGINE_PATH", "";
        /// Set `{cert_altnames}` from the certificate (FEATURE check_cert_altnames).
        set_cert_altnames: bool = "SetCertAltnames", "confSET_CERT_ALTNAMES", "False";
        /// MTA-STS for outgoing mail (FEATURE sts).
        strict_transport_security: bool = "StrictTransportSecurity", "confSTRICT_TRANSPORT_SECURITY", "False";
    }
}

option_group! {
    /// Mail filters (milters).
    Filters {
        /// Names of the filters that are asked, in order.
        input: FilterNames = "InputMailFilters", "confINPUT_MAIL_FILTERS", "";
        /// Log level of the filter code; empty means `LogLevel`.
        log_level: String = "Milter.LogLevel", "confMILTER_LOG_LEVEL", "";
        /// Macros sent at connect.
        macros_connect: String = "Milter.macros.connect", "confMILTER_MACROS_CONNECT", "";
        /// Macros sent at HELO.
        macros_helo: String = "Milter.macros.helo", "confMILTER_MACROS_HELO", "";
        /// Macros sent at MAIL.
        macros_envfrom: String = "Milter.macros.envfrom", "confMILTER_MACROS_ENVFROM", "";
        /// Macros sent at RCPT.
        macros_envrcpt: String = "Milter.macros.envrcpt", "confMILTER_MACROS_ENVRCPT", "";
        /// Macros sent at DATA.
        macros_data: String = "Milter.macros.data", "confMILTER_MACROS_DATA", "";
        /// Macros sent at the end of the headers.
        macros_eoh: String = "Milter.macros.eoh", "confMILTER_MACROS_EOH", "";
        /// Macros sent at the end of the message.
        macros_eom: String = "Milter.macros.eom", "confMILTER_MACROS_EOM", "";
    }
}
