//! The controller's services, reached with an operator's certificate.

use std::time::Duration;

use tonic::transport::{Certificate, Channel, ClientTlsConfig, Endpoint, Identity};
use wardround_proto::v1::{
    self, access_service_client::AccessServiceClient, audit_service_client::AuditServiceClient,
    estate_service_client::EstateServiceClient, image_service_client::ImageServiceClient,
    patch_service_client::PatchServiceClient, rollout_service_client::RolloutServiceClient,
    token_service_client::TokenServiceClient,
};
use wardround_signing::{Envelope, KeyId, Signature};

use crate::{
    failure::{Exit, Failure, chain},
    profile::Profile,
};

/// How long a person waits for a connection before being told.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// How long one question may take. A create resolves a plan against the whole estate.
const CALL_TIMEOUT: Duration = Duration::from_secs(60);
/// A dead link is noticed after twice this time.
const KEEP_ALIVE: Duration = Duration::from_secs(10);
/// Largest answer: a patch document of 8 MiB (`Patch::BYTES_MAX`) with its signatures.
const ANSWER_BYTES_MAX: usize = 16 * 1024 * 1024;

/// A connection to the controller.
#[derive(Clone)]
pub(crate) struct Controller {
    channel: Channel,
}

impl Controller {
    /// Connects, so that an unreachable controller is told apart from one that refuses.
    pub(crate) async fn connect(profile: &Profile) -> Result<Self, Failure> {
        let at = &profile.file.endpoint;
        if let Some(expired) = expired(&profile.cert_pem) {
            return Err(expired);
        }
        let wrong = |e: tonic::transport::Error| {
            Failure::new(format!("the profile's endpoint or certificates can't be used: {}", chain(&e)))
                .hint("`wardround init` writes a profile; copy its folder whole")
        };
        let tls = ClientTlsConfig::new()
            .ca_certificate(Certificate::from_pem(&profile.ca_pem))
            .identity(Identity::from_pem(&profile.cert_pem, profile.key_pem.as_bytes()));
        let endpoint = Endpoint::from_shared(at.clone())
            .and_then(|e| e.tls_config(tls))
            .map_err(wrong)?
            .connect_timeout(CONNECT_TIMEOUT)
            .http2_keep_alive_interval(KEEP_ALIVE)
            .keep_alive_timeout(KEEP_ALIVE)
            .keep_alive_while_idle(true)
            .tcp_nodelay(true);
        // The endpoint's own limit ends with TCP; one that accepts and then says nothing would be waited for without end.
        let connected = tokio::time::timeout(CONNECT_TIMEOUT, endpoint.connect()).await.map_err(|_| {
            let text = format!("cannot reach the controller at {at}: no answer within {}s", CONNECT_TIMEOUT.as_secs());
            Failure::with(Exit::Unreachable, text).hint("is it a controller that listens there, and is it well?")
        })?;
        let channel = connected.map_err(|error| {
            let words = chain(&error);
            let words = words.strip_prefix("transport error: ").unwrap_or(&words);
            let words = words.split(" (os error").next().unwrap_or(words).to_lowercase();
            let hint = if words.contains("certificate") {
                "the controller was set up anew, or this profile belongs to another one"
            } else {
                "is the controller running, and is the profile's endpoint right?"
            };
            Failure::with(Exit::Unreachable, format!("cannot reach the controller at {at}: {words}")).hint(hint)
        })?;
        Ok(Self { channel })
    }

    pub(crate) fn patches(&self) -> PatchServiceClient<Channel> {
        PatchServiceClient::new(self.channel.clone()).max_decoding_message_size(ANSWER_BYTES_MAX)
    }

    pub(crate) fn rollouts(&self) -> RolloutServiceClient<Channel> {
        RolloutServiceClient::new(self.channel.clone()).max_decoding_message_size(ANSWER_BYTES_MAX)
    }

    pub(crate) fn estate(&self) -> EstateServiceClient<Channel> {
        EstateServiceClient::new(self.channel.clone()).max_decoding_message_size(ANSWER_BYTES_MAX)
    }

    pub(crate) fn tokens(&self) -> TokenServiceClient<Channel> {
        TokenServiceClient::new(self.channel.clone())
    }

    pub(crate) fn access(&self) -> AccessServiceClient<Channel> {
        AccessServiceClient::new(self.channel.clone()).max_decoding_message_size(ANSWER_BYTES_MAX)
    }

    pub(crate) fn images(&self) -> ImageServiceClient<Channel> {
        ImageServiceClient::new(self.channel.clone()).max_decoding_message_size(ANSWER_BYTES_MAX)
    }

    pub(crate) fn audit(&self) -> AuditServiceClient<Channel> {
        AuditServiceClient::new(self.channel.clone()).max_decoding_message_size(ANSWER_BYTES_MAX)
    }

    /// One rollout, whole.
    pub(crate) async fn rollout(&self, id: &str) -> Result<v1::Rollout, Failure> {
        let answer = self.rollouts().get_rollout(call(v1::GetRolloutRequest { id: id.to_owned() })).await?;
        let rollout = answer.into_inner().rollout.ok_or_else(|| incomplete("rollout"))?;
        asked_for("rollout", id, &rollout.id)?;
        Ok(rollout)
    }

    /// One patch, whole.
    pub(crate) async fn patch(&self, id: &str) -> Result<v1::Patch, Failure> {
        let answer = self.patches().get_patch(call(v1::GetPatchRequest { id: id.to_owned() })).await?;
        let patch = answer.into_inner().patch.ok_or_else(|| incomplete("patch"))?;
        asked_for("patch", id, &patch.id)?;
        Ok(patch)
    }
}

/// What is signed with `--yes` is signed by its id alone: an answer about another thing must not pass for the one named.
fn asked_for(what: &str, asked: &str, answered: &str) -> Result<(), Failure> {
    if asked == answered {
        return Ok(());
    }
    Err(Failure::refused(format!("the controller was asked for {what} {asked} and answered with {answered:?}"))
        .hint("the controller shows something else than it holds: tell its operators, and sign nothing until then"))
}

/// The controller hangs up on an expired certificate, and TLS 1.3 does not say why: so it is looked at here. One that can't
/// be read is left to the controller.
fn expired(certificate_pem: &str) -> Option<Failure> {
    let (_, pem) = x509_parser::pem::parse_x509_pem(certificate_pem.as_bytes()).ok()?;
    let not_after = pem.parse_x509().ok()?.validity().not_after.timestamp();
    if not_after.saturating_mul(1000) > crate::when::now_ms() {
        return None;
    }
    let day = crate::when::rfc3339(not_after.saturating_mul(1000)).unwrap_or_default();
    Some(
        Failure::refused(format!("your operator's certificate expired on {}", day.get(..10).unwrap_or(&day)))
            .hint("have a new profile folder made on the controller's machine (`wardround operator issue`), or correct this machine's clock"),
    )
}

/// Most items of one page (the API's limit).
pub(crate) const PAGE: u32 = 1000;
/// Most pages that are asked for: 150,000 devices of the largest rollout are 150 of them, 50,000 sites are 50. What goes on
/// beyond that does not end.
const PAGES_MAX: usize = 10_000;

/// All items of a list. `ask` gets the token of a page and gives its items and the token of the next.
pub(crate) async fn all_pages<T>(
    mut ask: impl AsyncFnMut(String) -> Result<(Vec<T>, String), Failure>,
) -> Result<Vec<T>, Failure> {
    let mut all = Vec::new();
    let mut token = String::new();
    for _ in 0..PAGES_MAX {
        let (items, next) = ask(token).await?;
        all.extend(items);
        if next.is_empty() {
            return Ok(all);
        }
        token = next;
    }
    Err(Failure::new(format!("the controller's list does not end after {PAGES_MAX} pages"))
        .hint("are both of the same version?"))
}

/// A request that does not wait for ever.
pub(crate) fn call<T>(message: T) -> tonic::Request<T> {
    let mut request = tonic::Request::new(message);
    request.set_timeout(CALL_TIMEOUT);
    request
}

/// An answer without its main part: a controller of another version.
pub(crate) fn incomplete(what: &str) -> Failure {
    Failure::new(format!("the controller's answer holds no {what}")).hint("are both of the same version?")
}

/// From the API's envelope to the one that verifies.
pub(crate) fn from_wire(envelope: &v1::Envelope) -> Envelope {
    Envelope {
        payload_type: envelope.payload_type.clone(),
        payload: envelope.payload.clone(),
        signatures: envelope
            .signatures
            .iter()
            .map(|s| Signature { keyid: KeyId::claimed(&s.keyid), sig: s.sig.clone() })
            .collect(),
    }
}

/// And back.
pub(crate) fn to_wire(envelope: &Envelope) -> v1::Envelope {
    v1::Envelope {
        payload_type: envelope.payload_type.clone(),
        payload: envelope.payload.clone(),
        signatures: envelope.signatures.iter().map(signature_to_wire).collect(),
    }
}

pub(crate) fn signature_to_wire(signature: &Signature) -> v1::Signature {
    v1::Signature { keyid: signature.keyid.as_str().to_owned(), sig: signature.sig.clone() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_list_is_read_to_its_end_and_no_further() {
        let mut asked = Vec::new();
        let read = all_pages(async |token: String| {
            asked.push(token);
            Ok((vec![asked.len()], if asked.len() < 3 { format!("after {}", asked.len()) } else { String::new() }))
        });
        assert_eq!(read.await.unwrap(), [1, 2, 3]);
        assert_eq!(asked, ["", "after 1", "after 2"]);
        let endless = all_pages(async |_| Ok((Vec::<()>::new(), "again".to_owned()))).await.unwrap_err();
        assert!(endless.message.contains("does not end"), "{endless}");
    }

    #[test]
    fn an_answer_about_another_thing_is_refused() {
        assert!(asked_for("patch", "KB1", "KB1").is_ok());
        let refused = asked_for("patch", "KB1", "KB2").unwrap_err();
        assert_eq!(refused.exit, Exit::Refused);
        assert!(refused.message.contains("KB1") && refused.message.contains("KB2"), "{refused}");
    }
}
