//! FHIR: `GET [base]/metadata` gives the server's CapabilityStatement (R4, RESTful API section 3.1.0.14, and
//! CapabilityStatement section 2.21). It holds no patient's data.

use serde::Deserialize;

use super::{
    Finding,
    http::{get, quoted},
    wire::Trace,
};
use crate::config::Endpoint;

/// Most bytes of a statement that are read. That of a HAPI server with all of R4 has about 1 MiB.
const STATEMENT_BYTES_MAX: usize = 4 * 1024 * 1024;

pub(super) async fn probe(server: &Endpoint, target: &str, version: Option<&str>, trace: &Trace) -> Finding {
    let answer = get(server, target, "application/fhir+json", STATEMENT_BYTES_MAX, trace).await?;
    judge(answer.expect(200)?, version)
}

/// What is looked at; everything else is skipped while reading.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Statement {
    resource_type: Option<String>,
    fhir_version: Option<String>,
    status: Option<String>,
    software: Option<Software>,
}

#[derive(Deserialize)]
struct Software {
    name: Option<String>,
    version: Option<String>,
}

fn judge(body: &[u8], version: Option<&str>) -> Finding {
    let statement: Statement = serde_json::from_slice(body)
        .map_err(|error| format!("status 200, but the body is no FHIR resource in JSON ({error}): {}", quoted(body)))?;
    let word = |text: &Option<String>| text.as_deref().unwrap_or("none").chars().take(64).collect::<String>();
    let kind = word(&statement.resource_type);
    if kind != "CapabilityStatement" {
        return Err(format!("the answer is no CapabilityStatement, its resourceType is {kind}: {}", quoted(body)));
    }
    let (found, status) = (word(&statement.fhir_version), word(&statement.status));
    if let Some(wanted) = version
        && !is_version(&found, wanted)
    {
        return Err(format!("the server speaks FHIR {found} instead of {wanted}"));
    }
    if status != "active" {
        return Err(format!("the CapabilityStatement is {status}, not active (FHIR {found})"));
    }
    let software = statement
        .software
        .map_or_else(String::new, |software| format!(", {} {}", word(&software.name), word(&software.version)));
    Ok(format!("CapabilityStatement, active, FHIR {found}{software}"))
}

/// "4.0" stands for 4.0.0 and 4.0.1, but not for 4.01.
fn is_version(found: &str, wanted: &str) -> bool {
    found.strip_prefix(wanted).is_some_and(|rest| rest.is_empty() || rest.starts_with(['.', '-']))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn statements_are_judged() {
        let r4 = br#"{"resourceType":"CapabilityStatement","status":"active","fhirVersion":"4.0.1","rest":[{"mode":"server"}],
            "software":{"name":"Acme","version":"7"}}"#;
        let healthy = "CapabilityStatement, active, FHIR 4.0.1, Acme 7";
        for wanted in [None, Some("4"), Some("4.0"), Some("4.0.1")] {
            assert_eq!(judge(r4, wanted).unwrap(), healthy, "{wanted:?}");
        }
        for (body, wanted, why) in [
            (&r4[..], "4.0.10", "speaks FHIR 4.0.1 instead of 4.0.10"),
            (r4, "4.0.", "instead of"),
            (r4, "5", "speaks FHIR 4.0.1 instead of 5"),
            (
                br#"{"resourceType":"CapabilityStatement","status":"retired","fhirVersion":"4.0.1"}"#,
                "4",
                "is retired, not active",
            ),
            (br#"{"resourceType":"CapabilityStatement","status":"active"}"#, "4", "speaks FHIR none"),
            (br#"{"resourceType":"OperationOutcome"}"#, "4", "resourceType is OperationOutcome"),
            (b"[]", "4", "no FHIR resource"),
            (b"<CapabilityStatement/>", "4", "no FHIR resource in JSON"),
            (br#"{"resourceType":"CapabilityStat"#, "4", "EOF"),
        ] {
            let found = judge(body, Some(wanted)).unwrap_err();
            assert!(found.contains(why), "{why}: {found}");
        }
    }

    #[test]
    fn deep_nesting_does_no_harm() {
        let deep = format!(r#"{{"rest":{}{}}}"#, "[".repeat(200_000), "]".repeat(200_000));
        assert!(judge(deep.as_bytes(), None).is_err());
    }
}
