//! Envelopes between the wire and the signing room.

use wardround_proto::v1;
use wardround_signing::{Envelope, KeyId, Signature};

pub(super) fn to_wire(envelope: &Envelope) -> v1::Envelope {
    v1::Envelope {
        payload_type: envelope.payload_type.clone(),
        payload: envelope.payload.clone(),
        signatures: envelope
            .signatures
            .iter()
            .map(|s| v1::Signature { keyid: s.keyid.as_str().to_owned(), sig: s.sig.clone() })
            .collect(),
    }
}

pub(super) fn from_wire(envelope: v1::Envelope) -> Envelope {
    Envelope {
        payload_type: envelope.payload_type,
        payload: envelope.payload,
        signatures: envelope
            .signatures
            .into_iter()
            .map(|s| Signature { keyid: KeyId::claimed(&s.keyid), sig: s.sig })
            .collect(),
    }
}
