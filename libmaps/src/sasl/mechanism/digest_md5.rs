//! DIGEST-MD5 (RFC 2831), both sides; protection `auth` only.
//!
//! auth-int and auth-conf would put a security layer of MD5, DES or RC4 on the
//! connection: TLS does that, and a client that asks for them is refused.

use std::borrow::Cow;

use md5::{Digest, Md5};

use super::client::{ClientFailure, ClientSetup};
use super::digest_text::{Directives, Repeats, quote};
use super::server::{Context, Failure, Progress, Service, State, about};
use super::{Mechanism, Nonce};
use crate::sasl::key::UserId;
use crate::sasl::password::{Password, SecretBytes};
use crate::sasl::secret::{DigestMd5, hash_user, to_hex};

/// The fields that both sides hash (RFC 2831 section 2.1.2.1).
struct Fields<'a> {
    nonce: &'a [u8],
    cnonce: &'a [u8],
    nc: &'a [u8],
    qop: &'a [u8],
    digest_uri: &'a [u8],
    authzid: Option<&'a [u8]>,
}

impl Fields<'_> {
    /// response-value for `A2 = prefix digest-uri`: `AUTHENTICATE:` from the client, `:` from the server.
    fn response(&self, user_hash: &SecretBytes, a2_prefix: &[u8]) -> SecretBytes {
        let mut a1 = vec![user_hash.expose(), b":", self.nonce, b":", self.cnonce];
        if let Some(authzid) = self.authzid {
            a1.extend([&b":"[..], authzid]);
        }
        let a1 = md5_hex(&a1);
        let a2 = md5_hex(&[a2_prefix, self.digest_uri]);
        md5_hex(&[
            a1.expose(),
            b":",
            self.nonce,
            b":",
            self.nc,
            b":",
            self.cnonce,
            b":",
            self.qop,
            b":",
            a2.expose(),
        ])
    }
}

fn md5_hex(parts: &[&[u8]]) -> SecretBytes {
    let mut md5 = Md5::new();
    for part in parts {
        md5.update(part);
    }
    to_hex(&md5.finalize())
}

const FROM_CLIENT: &[u8] = b"AUTHENTICATE:";
const FROM_SERVER: &[u8] = b":";

/// The server after its challenge.
pub(super) struct AwaitResponse {
    nonce: Nonce,
}

impl AwaitResponse {
    pub(super) fn start(nonce: &Nonce, service: &Service) -> (Vec<u8>, Self) {
        let challenge = [
            b"nonce=\"".as_slice(),
            nonce.as_str().as_bytes(),
            b"\",realm=",
            &quote(&service.realm),
            b",qop=\"auth\",charset=utf-8,algorithm=md5-sess",
        ]
        .concat();
        let nonce = nonce.clone();
        (challenge, AwaitResponse { nonce })
    }

    pub(super) fn respond(
        self,
        context: &Context<'_>,
        response: &[u8],
    ) -> Result<Progress, Failure> {
        let directives =
            Directives::parse(response, Repeats::Refuse).map_err(Failure::malformed)?;
        let need = |name: &'static str, why| {
            let value = directives.get(name.as_bytes());
            value.ok_or(Failure::malformed(why))
        };
        let username = need("username", "no username")?;
        let fields = Fields {
            nonce: need("nonce", "no nonce")?,
            cnonce: need("cnonce", "no cnonce")?,
            nc: need("nc", "no nonce count")?,
            qop: directives.get(b"qop").unwrap_or(b"auth"),
            digest_uri: need("digest-uri", "no digest-uri")?,
            authzid: directives.get(b"authzid"),
        };
        let proof = SecretBytes::new(need("response", "no response")?.to_vec());
        let realm = directives.get(b"realm").unwrap_or_default();
        self.check_fields(&fields, &directives, context.service)?;

        let text = Names::of(username, realm, &directives);
        let typed = text.account(context.service)?;
        let authid = context.name(&text.authid(&typed, context.service));
        let user = context.service.account(&authid)?;
        let tell = |failure| about(failure, &authid);
        let found = context.accounts.secrets(&user);
        let found = found.map_err(|e| tell(e.into()))?;
        let mut missing = "no such user";
        // Made in any case: what there is of a user shall not show in the time.
        let clear = found.as_ref().and_then(|secrets| secrets.clear.as_ref());
        let password = clear.map_or(&b"nobody's"[..], Password::expose);
        let made = hash_user(&text.username, &text.realm, password);
        let hash = found.and_then(|secrets| {
            missing = "the user has no DIGEST-MD5 secret for this realm";
            if secrets.clear.is_some() {
                return Some(made);
            }
            let hashes = secrets.digest_md5?;
            hashes
                .for_response(&user, &text.username, &text.realm)
                .cloned()
        });
        let known = hash.is_some();
        let decoy = UserId::resolve(b"", b"").ok();
        let hash = hash
            .or_else(|| {
                let nobody = DigestMd5::dummy();
                nobody.for_response(&decoy?, b"", b"").cloned()
            })
            .unwrap_or_else(|| SecretBytes::new(vec![0; 16]));
        let fits = fields.response(&hash, FROM_CLIENT) == proof;
        if !known {
            return Err(tell(Failure::rejected(missing)));
        }
        if !fits {
            return Err(tell(Failure::rejected("the response does not fit")));
        }
        let login = context.authorize(&authid, fields.authzid.unwrap_or_default())?;
        let rspauth = fields.response(&hash, FROM_SERVER);
        let proof = [b"rspauth=", rspauth.expose()].concat();
        Ok(Progress::Ask(proof, State::Proved(login)))
    }

    fn check_fields(
        &self,
        fields: &Fields<'_>,
        directives: &Directives,
        service: &Service,
    ) -> Result<(), Failure> {
        if fields.nonce != self.nonce.as_str().as_bytes() {
            return Err(Failure::malformed("the nonce is not the one that was sent"));
        }
        if fields.nc != b"00000001" {
            return Err(Failure::malformed("the nonce count is not 1"));
        }
        if fields.cnonce.is_empty() {
            return Err(Failure::malformed("the cnonce is empty"));
        }
        match fields.qop {
            b"auth" => {}
            b"auth-int" | b"auth-conf" => {
                return Err(Failure::malformed(
                    "security layers (auth-int, auth-conf) are not offered: use TLS",
                ));
            }
            _ => return Err(Failure::malformed("an unknown qop")),
        }
        if directives.get(b"charset").is_some_and(|c| c != b"utf-8") {
            return Err(Failure::malformed("an unknown charset"));
        }
        let asked = fields.digest_uri.split(|b| *b == b'/').next();
        if !asked.is_some_and(|s| s.eq_ignore_ascii_case(service.name.as_bytes())) {
            return Err(Failure::malformed("the digest-uri is for another service"));
        }
        Ok(())
    }
}

/// User name and realm as they were sent, in UTF-8.
struct Names {
    username: Vec<u8>,
    realm: Vec<u8>,
}

impl Names {
    /// Without `charset=utf-8` names are in ISO 8859-1; clients that send UTF-8
    /// without saying so are understood too.
    fn of(username: &[u8], realm: &[u8], directives: &Directives) -> Self {
        let declared = directives.get(b"charset").is_some();
        let to_utf8 = |octets: &[u8]| -> Vec<u8> {
            if declared || std::str::from_utf8(octets).is_ok() {
                return octets.to_vec();
            }
            let text: String = octets.iter().map(|b| char::from(*b)).collect();
            text.into_bytes()
        };
        Names {
            username: to_utf8(username),
            realm: to_utf8(realm),
        }
    }

    /// The account: a realm in the name wins over the realm field, which wins over the default.
    fn account(&self, service: &Service) -> Result<UserId, Failure> {
        if self.username.contains(&b'@') || self.realm.is_empty() {
            return service.account(&self.username);
        }
        if self.username.is_empty() {
            return Err(Failure::malformed("the user name is empty"));
        }
        UserId::new(self.username.trim_ascii(), &self.realm)
            .map_err(|_| Failure::malformed("the user name holds a NUL or is too long"))
    }

    /// The name that stands for the account everywhere else: of another realm than the default
    /// with that realm, as libsasl has it.
    fn authid<'a>(&'a self, account: &UserId, service: &Service) -> Cow<'a, [u8]> {
        match self.username.contains(&b'@') || account.realm() == service.realm {
            true => Cow::Borrowed(&self.username),
            false => Cow::Owned([account.authid(), b"@", account.realm()].concat()),
        }
    }
}

/// The client.
pub(super) enum Client {
    /// Before the challenge.
    Start,
    /// The challenge is answered; this rspauth proves that the server knows the password.
    Answered { expected: SecretBytes },
    /// The rspauth has come and was right.
    Proved,
}

impl Client {
    pub(super) fn respond(
        &mut self,
        setup: &ClientSetup,
        cnonce: &Nonce,
        challenge: &[u8],
    ) -> Result<Vec<u8>, ClientFailure> {
        match self {
            Client::Start => self.answer(setup, cnonce, challenge),
            Client::Answered { expected } => {
                check_server(expected, challenge)?;
                *self = Client::Proved;
                Ok(Vec::new())
            }
            Client::Proved => Err(refuse("one message too many")),
        }
    }

    fn answer(
        &mut self,
        setup: &ClientSetup,
        cnonce: &Nonce,
        challenge: &[u8],
    ) -> Result<Vec<u8>, ClientFailure> {
        let directives = Directives::parse(challenge, Repeats::Realms).map_err(refuse)?;
        let nonce = directives.get(b"nonce").ok_or(refuse("no nonce"))?;
        if directives.get(b"algorithm") != Some(b"md5-sess") {
            return Err(refuse("the algorithm is not md5-sess"));
        }
        let qop = directives.get(b"qop").unwrap_or(b"auth");
        if !qop.split(|b| *b == b',').any(|q| q.trim_ascii() == b"auth") {
            return Err(refuse("only security layers are offered"));
        }
        let realm = match &setup.realm {
            Some(realm) => realm.as_slice(),
            None => directives.get(b"realm").unwrap_or_default(),
        };
        let digest_uri = format!("{}/{}", setup.service, setup.host);
        let fields = Fields {
            nonce,
            cnonce: cnonce.as_str().as_bytes(),
            nc: b"00000001",
            qop: b"auth",
            digest_uri: digest_uri.as_bytes(),
            authzid: (!setup.authzid.is_empty()).then_some(setup.authzid.as_slice()),
        };
        let hash = hash_user(&setup.authid, realm, setup.password.expose());
        let proof = fields.response(&hash, FROM_CLIENT);
        let expected = fields.response(&hash, FROM_SERVER);
        let mut text = Vec::new();
        if directives.get(b"charset").is_some() {
            text.extend_from_slice(b"charset=utf-8,");
        }
        for (name, value) in [
            (&b"username="[..], setup.authid.as_slice()),
            (b",realm=", realm),
            (b",nonce=", nonce),
            (b",cnonce=", fields.cnonce),
            (b",digest-uri=", fields.digest_uri),
        ] {
            text.extend_from_slice(name);
            text.extend_from_slice(&quote(value));
        }
        text.extend_from_slice(b",nc=00000001,qop=auth,response=");
        text.extend_from_slice(proof.expose());
        if let Some(authzid) = fields.authzid {
            text.extend_from_slice(b",authzid=");
            text.extend_from_slice(&quote(authzid));
        }
        *self = Client::Answered { expected };
        Ok(text)
    }

    /// Whether the server's rspauth has come and was right.
    pub(super) fn server_proved(&self) -> bool {
        matches!(self, Client::Proved)
    }
}

fn check_server(expected: &SecretBytes, challenge: &[u8]) -> Result<(), ClientFailure> {
    let directives = Directives::parse(challenge, Repeats::Refuse).map_err(refuse)?;
    let rspauth = directives.get(b"rspauth").ok_or(refuse("no rspauth"))?;
    match *expected == SecretBytes::new(rspauth.to_vec()) {
        true => Ok(()),
        false => Err(ClientFailure::ServerNotProved),
    }
}

fn refuse(why: &'static str) -> ClientFailure {
    ClientFailure::Challenge(Mechanism::DigestMd5, why)
}
