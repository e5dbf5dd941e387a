//! SCRAM-SHA-1 and SCRAM-SHA-256 with their -PLUS (RFC 5802, RFC 7677), both sides.

use super::client::{ClientFailure, ClientSetup};
use super::decoy::Decoy;
use super::scram_text::{
    BindingFlag, ClientFinal, ClientFirst, escape, from_base64, parse_server_first, server_first,
};
use super::server::{Channel, Context, Failure, Offer, Progress, State, about};
use super::{ChannelBinding, Mechanism, Nonce};
use crate::sasl::hash::ScramHash;
use crate::sasl::password::SecretBytes;
use crate::sasl::saslprep::saslprep;
use crate::sasl::secret::{MAX_ITERATIONS, MIN_ITERATIONS, ScramSecret, salted_password, xor};

use base64ct::{Base64, Encoding};

/// The server before the client's first message.
pub(super) struct AwaitFirst {
    nonce: Nonce,
}

/// The server before the client's final message.
pub(super) struct AwaitFinal {
    name: Vec<u8>,
    authzid: Vec<u8>,
    keys: ScramSecret,
    /// `None`: the keys are the account's; else why they are nobody's.
    decoy: Option<&'static str>,
    nonce: Vec<u8>,
    binding: Vec<u8>,
    /// client-first-message-bare, comma, server-first-message.
    signed: Vec<u8>,
}

impl AwaitFirst {
    pub(super) fn new(nonce: Nonce) -> Self {
        AwaitFirst { nonce }
    }

    pub(super) fn respond(
        self,
        context: &Context<'_>,
        response: &[u8],
    ) -> Result<Progress, Failure> {
        let hash = hash_of(context.mechanism);
        let first = ClientFirst::parse(response).map_err(Failure::malformed)?;
        let binding = bound(context.mechanism, context.channel, &first)?;
        let name = context.name(&first.username);
        let user = context.service.account(&name)?;
        let tell = |failure| about(failure, &name);
        let found = context.accounts.secrets(&user);
        let found = found.map_err(|e| tell(e.into()))?;
        let secrets = found.as_ref();
        let decoy_keys = Decoy::of(&user, secrets, hash, context.service, context.accounts);
        let Decoy { salt, iterations } = decoy_keys.map_err(|e| tell(e.into()))?;
        let mut decoy = Some("no such user");
        let mut made = false;
        let keys = found.and_then(|secrets| {
            decoy = Some("the user has no secret for this mechanism");
            let clear = secrets.clear.as_ref();
            let keys = secrets.scram(hash).cloned().or_else(|| {
                let password = clear?.expose();
                made = true;
                Some(ScramSecret::derive(hash, password, &salt, iterations))
            })?;
            decoy = None;
            Some(keys)
        });
        // Where keys are made for one user, it takes as long for all others, and for nobody.
        let toll = &context.service.toll;
        match made {
            true => toll.meet_clear(),
            false if toll.makes_keys() => {
                let _ = ScramSecret::derive(hash, b"nobody's", &salt, iterations);
            }
            false => {}
        }
        let keys = keys.unwrap_or_else(|| ScramSecret::dummy(hash, &salt, iterations));
        let nonce = [&first.nonce, self.nonce.as_str().as_bytes()].concat();
        let challenge = server_first(&nonce, keys.salt(), keys.iterations());
        let signed = [first.bare.as_slice(), &challenge].join(&b',');
        let state = AwaitFinal {
            name,
            authzid: first.authzid,
            keys,
            decoy,
            nonce,
            binding,
            signed,
        };
        Ok(Progress::Ask(challenge, State::ScramFinal(state)))
    }
}

impl AwaitFinal {
    pub(super) fn respond(
        self,
        context: &Context<'_>,
        response: &[u8],
    ) -> Result<Progress, Failure> {
        let tell = |failure| about(failure, &self.name);
        let last = ClientFinal::parse(response).map_err(|why| tell(Failure::malformed(why)))?;
        if last.nonce != self.nonce {
            return Err(tell(Failure::malformed("the nonce has changed")));
        }
        if last.binding != self.binding {
            return Err(tell(Failure::malformed("the channel binding does not fit")));
        }
        let signed = [self.signed.as_slice(), &last.without_proof].join(&b',');
        let proved = self.keys.proves(&last.proof, &signed);
        if let Some(why) = self.decoy {
            return Err(tell(Failure::rejected(why)));
        }
        if !proved {
            return Err(tell(Failure::rejected("the proof does not fit")));
        }
        let login = context.authorize(&self.name, &self.authzid)?;
        let signature = Base64::encode_string(&self.keys.server_signature(&signed));
        let proof = format!("v={signature}").into_bytes();
        Ok(Progress::Ask(proof, State::Proved(login)))
    }
}

fn hash_of(mechanism: Mechanism) -> ScramHash {
    match mechanism {
        Mechanism::Scram(hash) | Mechanism::ScramPlus(hash) => hash,
        _ => ScramHash::Sha256,
    }
}

/// What `c=` must hold: the GS2 header, then the binding's octets.
fn bound(mechanism: Mechanism, channel: &Channel, first: &ClientFirst) -> Result<Vec<u8>, Failure> {
    let plus = matches!(mechanism, Mechanism::ScramPlus(_));
    let mut expected = first.gs2_header.clone();
    match (&first.flag, plus) {
        (BindingFlag::Used(kind), true) => {
            let mut all = channel.bindings.iter();
            let binding =
                all.find(|b| b.kind.name().as_bytes() == kind)
                    .ok_or(Failure::malformed(
                        "a type of channel binding that this channel lacks",
                    ))?;
            expected.extend_from_slice(&binding.data);
        }
        (_, true) => {
            return Err(Failure::malformed(
                "a -PLUS mechanism without channel binding",
            ));
        }
        (BindingFlag::Used(_), false) => {
            return Err(Failure::malformed(
                "channel binding without a -PLUS mechanism",
            ));
        }
        (BindingFlag::ServerLacksIt, false) if channel.plus == Offer::Offered => {
            return Err(Failure::malformed(
                "the client was kept from seeing the -PLUS mechanisms",
            ));
        }
        (BindingFlag::ServerLacksIt | BindingFlag::Unsupported, false) => {}
    }
    Ok(expected)
}

/// The client.
pub(super) enum Client {
    /// Before its first message.
    Start,
    /// After it: the GS2 header with its binding, and the bare message.
    First { binding: Vec<u8>, bare: Vec<u8> },
    /// After its proof: the ServerSignature that must come.
    Final { expected: SecretBytes },
    /// The server has proved itself.
    Proved,
}

impl Client {
    /// client-first-message.
    pub(super) fn first(
        &mut self,
        mechanism: Mechanism,
        setup: &ClientSetup,
        nonce: &Nonce,
    ) -> Result<Vec<u8>, ClientFailure> {
        let plus = matches!(mechanism, Mechanism::ScramPlus(_));
        let (flag, data): (String, &[u8]) = match (plus, setup.bindings.as_slice()) {
            (true, [ChannelBinding { kind, data }, ..]) => (format!("p={}", kind.name()), data),
            (true, []) => return Err(ClientFailure::NoBinding),
            (false, []) => ("n".to_owned(), b""),
            (false, _) if setup.plus == Offer::NotOffered => ("y".to_owned(), b""),
            (false, _) => ("n".to_owned(), b""),
        };
        let mut header = flag.into_bytes();
        header.push(b',');
        if !setup.authzid.is_empty() {
            header.extend_from_slice(b"a=");
            header.extend_from_slice(&escape(&setup.authzid));
        }
        header.push(b',');
        let name = escape(&saslprep(&setup.authid));
        let bare = [b"n=", name.as_slice(), b",r=", nonce.as_str().as_bytes()].concat();
        let message = [header.as_slice(), &bare].concat();
        header.extend_from_slice(data);
        *self = Client::First {
            binding: header,
            bare,
        };
        Ok(message)
    }

    pub(super) fn respond(
        &mut self,
        mechanism: Mechanism,
        setup: &ClientSetup,
        nonce: &Nonce,
        challenge: &[u8],
    ) -> Result<Vec<u8>, ClientFailure> {
        let refuse = |why| ClientFailure::Challenge(mechanism, why);
        match self {
            Client::Start => self.first(mechanism, setup, nonce),
            Client::First { binding, bare } => {
                let hash = hash_of(mechanism);
                let (whole, salt, iterations) =
                    parse_server_first(challenge, nonce).map_err(refuse)?;
                if !(MIN_ITERATIONS..=MAX_ITERATIONS).contains(&iterations) {
                    return Err(refuse("the iterations are not 4096 to 1000000"));
                }
                let c = Base64::encode_string(binding);
                let without_proof = [b"c=", c.as_bytes(), b",r=", &whole].concat();
                let signed = [bare.as_slice(), challenge, &without_proof].join(&b',');
                let salted = salted_password(hash, setup.password.expose(), &salt, iterations);
                let client_key = hash.hmac(&salted, b"Client Key");
                let signature = hash.hmac(&hash.digest(&client_key), &signed);
                let proof = Base64::encode_string(&xor(&client_key, &signature));
                let server_key = hash.hmac(&salted, b"Server Key");
                let expected = SecretBytes::new(hash.hmac(&server_key, &signed).to_vec());
                *self = Client::Final { expected };
                Ok([&without_proof, b",p=".as_slice(), proof.as_bytes()].concat())
            }
            Client::Final { expected } => {
                let signature = challenge.strip_prefix(b"v=").ok_or(refuse("expected v="))?;
                let signature = SecretBytes::new(from_base64(signature).map_err(refuse)?);
                if signature != *expected {
                    return Err(ClientFailure::ServerNotProved);
                }
                *self = Client::Proved;
                Ok(Vec::new())
            }
            Client::Proved => Err(refuse("one message too many")),
        }
    }

    pub(super) fn server_proved(&self) -> bool {
        matches!(self, Client::Proved)
    }
}
