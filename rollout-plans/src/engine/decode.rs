//! Events as JSON. Nearly all of a journal are reports on deployments, and a replay reads millions of them.
//!
//! What serde makes of an enum with its tag inside keeps the whole event aside until it has seen the tag. It is written
//! first, so here it is read first, and such a report goes straight to its place. Everything else takes serde's way.

use std::fmt;

use serde::{
    Deserialize, Deserializer, Serialize, Serializer,
    de::{DeserializeSeed, Error, IntoDeserializer as _, MapAccess, Visitor, value::MapAccessDeserializer},
};
use serde_json::Value;
use wardround_signing::{Envelope, KeyId};

use super::Event;
use crate::model::{DeploymentState, DeviceId, Evidence, ReportBody, RolloutId, SiteId, Timestamp};

impl Serialize for Event {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        Self::serialize(self, to)
    }
}

impl<'de> Deserialize<'de> for Event {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        from.deserialize_map(OfEvent)
    }
}

/// [`Event::Report`] after its tag.
#[derive(Deserialize)]
struct Report {
    site: SiteId,
    seq: u64,
    at: Timestamp,
    body: Body,
    #[serde(default)]
    node_key: Option<KeyId>,
    #[serde(default)]
    envelope: Option<Envelope>,
}

/// [`ReportBody::Deployment`] after its tag.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Deployment {
    rollout: RolloutId,
    device: DeviceId,
    attempt: u32,
    state: DeploymentState,
    #[serde(default)]
    reason: String,
    #[serde(default)]
    code: String,
    #[serde(default)]
    evidence: Evidence,
}

struct OfEvent;

impl<'de> Visitor<'de> for OfEvent {
    type Value = Event;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an event")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Event, A::Error> {
        let first = First::read(&mut map)?;
        if !first.is("event", "report") {
            return Event::deserialize(MapAccessDeserializer::new(Again { first, map }));
        }
        let Report { site, seq, at, body, node_key, envelope } = Report::deserialize(MapAccessDeserializer::new(map))?;
        Ok(Event::Report { site, seq, at, body: body.0, node_key, envelope })
    }
}

struct Body(ReportBody);

impl<'de> Deserialize<'de> for Body {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        from.deserialize_map(OfBody)
    }
}

struct OfBody;

impl<'de> Visitor<'de> for OfBody {
    type Value = Body;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the body of a report")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Body, A::Error> {
        let first = First::read(&mut map)?;
        if !first.is("kind", "deployment") {
            return ReportBody::deserialize(MapAccessDeserializer::new(Again { first, map })).map(Body);
        }
        let Deployment { rollout, device, attempt, state, reason, code, evidence } =
            Deployment::deserialize(MapAccessDeserializer::new(map))?;
        Ok(Body(ReportBody::Deployment { rollout, device, attempt, state, reason, code, evidence }))
    }
}

/// The first entry of a map.
struct First {
    key: Option<String>,
    value: Option<Value>,
}

impl First {
    fn read<'de, A: MapAccess<'de>>(map: &mut A) -> Result<Self, A::Error> {
        let (key, value) = map.next_entry()?.unzip();
        Ok(Self { key, value })
    }

    fn is(&self, key: &str, value: &str) -> bool {
        self.key.as_deref() == Some(key) && self.value.as_ref().and_then(Value::as_str) == Some(value)
    }
}

/// A map of which the first entry has been read, from its beginning.
struct Again<A> {
    first: First,
    map: A,
}

impl<'de, A: MapAccess<'de>> MapAccess<'de> for Again<A> {
    type Error = A::Error;

    fn next_key_seed<K: DeserializeSeed<'de>>(&mut self, seed: K) -> Result<Option<K::Value>, A::Error> {
        match self.first.key.take() {
            Some(key) => seed.deserialize(key.into_deserializer()).map(Some),
            None => self.map.next_key_seed(seed),
        }
    }

    fn next_value_seed<V: DeserializeSeed<'de>>(&mut self, seed: V) -> Result<V::Value, A::Error> {
        match self.first.value.take() {
            Some(value) => seed.deserialize(value).map_err(A::Error::custom),
            None => self.map.next_value_seed(seed),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const REPORT: &str = r#"{"event":"report","site":"rx1","seq":2,"at":7,"body":{"kind":"deployment","rollout":"r1",
        "device":"rx1/ct","attempt":1,"state":"installing","evidence":{"exit_code":3010}}}"#;

    fn read(text: &str) -> Result<Value, serde_json::Error> {
        let event: Event = serde_json::from_str(text)?;
        serde_json::to_value(&event)
    }

    #[test]
    fn the_tag_may_stand_anywhere() {
        let last = REPORT.replacen(r#""event":"report","#, "", 1).replacen("3010}}}", r#"3010}},"event":"report"}"#, 1);
        let inner =
            REPORT.replacen(r#""kind":"deployment","#, "", 1).replacen("3010}}}", r#"3010},"kind":"deployment"}}"#, 1);
        let plain = read(REPORT).unwrap();
        assert_eq!(plain["body"]["evidence"]["exit_code"], 3010);
        assert_eq!((read(&last).unwrap(), read(&inner).unwrap()), (plain.clone(), plain));
    }

    #[test]
    fn what_is_unknown_is_refused_where_it_was() {
        for (from, to) in [
            (r#""attempt":1"#, r#""attempt":1,"more":2"#),
            (r#""kind":"deployment""#, r#""kind":"deployment","kind":"deployment""#),
            (r#""kind":"deployment""#, r#""kind":"nonsense""#),
            (r#""event":"report""#, r#""event":"nonsense""#),
            (r#""attempt":1"#, r#""attempt":1,"attempt":1"#),
            (r#""seq":2,"#, ""),
            (r#""device":"rx1/ct""#, r#""device":"rx1""#),
        ] {
            assert!(read(&REPORT.replacen(from, to, 1)).is_err(), "{to}");
        }
        assert!(
            read(&REPORT.replacen(r#""seq":2"#, r#""seq":2,"later":true"#, 1)).is_ok(),
            "a newer program may say more"
        );
        assert!(read(r#"{"event":"tick"}"#).is_ok() && read("{}").is_err() && read("7").is_err());
    }
}
