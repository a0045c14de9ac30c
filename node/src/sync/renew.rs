//! The node's certificate is renewed before it ends, for the same key; else the site would fall silent after a month.

use std::{path::PathBuf, sync::Arc, time::Duration};

use tokio_util::sync::CancellationToken;
use tonic::transport::Channel;
use wardround_proto::v1::{RenewCertificateRequest, certificate_service_client::CertificateServiceClient};

use super::{
    Controller,
    connect::{in_time, request},
    jittered,
};
use crate::{
    NodeError,
    executor::now,
    identity::{Identity, Life, replace_certificate},
};

/// Longest sleep until the renewal: the machine's clock may be set.
const SLEEP_MAX: Duration = Duration::from_secs(60 * 60);
/// Between two tries: ten days are left for them.
const RETRY: Duration = Duration::from_secs(15 * 60);

/// Why there is no fresh certificate.
#[derive(Debug, thiserror::Error)]
enum RenewError {
    #[error("the controller does not renew it: {0}")]
    Call(#[from] Box<tonic::Status>),
    #[error("what the controller sent can't be used: {0}")]
    Answer(String),
    #[error(transparent)]
    Node(#[from] NodeError),
}

/// Renews when it is time, until `stop`.
pub(crate) async fn run(controller: Controller, identity: Arc<Identity>, state_dir: PathBuf, stop: CancellationToken) {
    let mut certificate_pem = identity.cert_pem.clone();
    loop {
        let pause = match Life::of(&certificate_pem) {
            Ok(life) if now() < life.renew_at() => Duration::from_millis(life.renew_at().since(now()).0),
            _ => match renew(&controller, &identity, &state_dir, &certificate_pem).await {
                Ok(fresh) => {
                    tracing::info!("the node's certificate is renewed");
                    certificate_pem = fresh;
                    continue;
                }
                Err(error) => {
                    let hint =
                        "when it has ended, make a token with `wardround site token` and enrol into a new folder";
                    tracing::error!(%error, hint, "the node's certificate could not be renewed; it is tried again");
                    jittered(RETRY)
                }
            },
        };
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(pause.min(SLEEP_MAX)) => {}
        }
    }
}

async fn renew(
    controller: &Controller,
    identity: &Identity,
    state_dir: &std::path::Path,
    present: &str,
) -> Result<String, RenewError> {
    let fresh = ask(controller.channel(), identity).await?;
    accept(present, &fresh)?;
    // On disk before it is shown: a crash between the two leaves two certificates that both count.
    replace_certificate(state_dir, &fresh)?;
    controller.show(identity, &fresh)?;
    Ok(fresh)
}

async fn ask(channel: Channel, identity: &Identity) -> Result<String, RenewError> {
    let crypto = |e: rcgen::Error| NodeError::Crypto { what: "making a certificate request", why: e.to_string() };
    let key = rcgen::KeyPair::from_pem(&identity.key_pem).map_err(crypto)?;
    let csr = rcgen::CertificateParams::default().serialize_request(&key).map_err(crypto)?;
    let asked = RenewCertificateRequest { csr_der: csr.der().to_vec() };
    let answer =
        in_time(CertificateServiceClient::new(channel).renew_certificate(request(asked))).await.map_err(Box::new)?;
    Ok(answer.certificate_pem)
}

/// A fresh certificate is for the node's own key and lasts longer than the present one.
fn accept(present: &str, fresh: &str) -> Result<(), RenewError> {
    let (present, fresh) = (Life::of(present)?, Life::of(fresh)?);
    if fresh.key != present.key {
        return Err(RenewError::Answer("it is for another key".to_owned()));
    }
    if fresh.not_after <= present.not_after {
        return Err(RenewError::Answer("it ends no later than the one before".to_owned()));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use wardround_rollout_plans::model::Timestamp;

    fn certificate(key: &rcgen::KeyPair, from: i32, to: i32) -> String {
        let mut params = rcgen::CertificateParams::default();
        params.not_before = rcgen::date_time_ymd(from, 1, 1);
        params.not_after = rcgen::date_time_ymd(to, 1, 1);
        params.self_signed(key).unwrap().pem()
    }

    #[test]
    fn a_third_of_its_life_is_left_when_it_is_renewed() {
        let day = |y: i32| Timestamp(rcgen::date_time_ymd(y, 1, 1).unix_timestamp() * 1000);
        let life = Life::of(&certificate(&rcgen::KeyPair::generate().unwrap(), 2026, 2029)).unwrap();
        assert_eq!((life.not_before, life.not_after), (day(2026), day(2029)));
        // 1096 days; after 730 of them, to the day.
        assert!(life.renew_at().since(day(2028)).0 < 86_400_000, "{:?}", life.renew_at());
    }

    #[test]
    fn only_a_longer_certificate_for_the_own_key_is_taken() {
        let (own, other) = (rcgen::KeyPair::generate().unwrap(), rcgen::KeyPair::generate().unwrap());
        let present = certificate(&own, 2026, 2027);
        assert!(accept(&present, &certificate(&own, 2026, 2028)).is_ok());
        for (bad, why) in [
            (certificate(&other, 2026, 2028), "another key"),
            (certificate(&own, 2026, 2027), "no later"),
            ("rubbish".to_owned(), "reading a certificate"),
        ] {
            let error = accept(&present, &bad).unwrap_err().to_string();
            assert!(error.contains(why), "{error}");
        }
    }
}
