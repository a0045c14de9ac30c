//! Sites with their nodes, devices and clinical systems.

use axum::{
    extract::{Path, State},
    http::Uri,
    response::{Html, IntoResponse},
};
use maud::{Markup, html};
use tonic::{Request, Status};
use wardround_proto::v1::{self, estate_service_server::EstateService as _};
use wardround_rollout_plans::model::Timestamp;

use super::{Console, layout::Failure, query, rollouts, words};
use crate::clock;

/// Sites on one page.
const PAGE: u32 = 200;
/// Devices with a drift that are shown of one site.
const DRIFTING: u32 = 100;

/// `/sites`
pub(super) async fn list(State(console): State<Console>, uri: Uri) -> Result<impl IntoResponse, Failure> {
    let asked = v1::ListSitesRequest { page_size: PAGE, page_token: query::value(&uri, "page") };
    let answer = console.service.list_sites(Request::new(asked)).await?.into_inner();
    let now = clock::now();
    let body = html! {
        @if answer.sites.is_empty() {
            p { "No site has enrolled yet. Make a token with " code { "wardround site token SITE" } "." }
        } @else {
            table {
                thead { tr { th { "Site" } th { "Region" } th { "Node" } th { "Last word" } th.number { "Devices" } th.number { "Clinical systems" } } }
                tbody {
                    @for site in &answer.sites {
                        tr {
                            td { a href={ "/sites/" (site.id) } { (site.id) } " " span.dim { (site.display_name) } }
                            td { (site.region) }
                            td { (node(site)) }
                            td { (words::ago(site.last_seen_ms, now)) }
                            td.number { (site.device_count) }
                            td.number { (site.clinical_system_count) }
                        }
                    }
                }
            }
            @if !answer.next_page_token.is_empty() {
                p { a href={ "/sites?page=" (answer.next_page_token) } { "More sites" } }
            }
        }
    };
    Ok(console.page("Sites", &body) as Html<String>)
}

fn node(site: &v1::Site) -> Markup {
    html! {
        @if site.node == "revoked" { span.state.warn title=(site.node_revoked_why) { "no node: revoked" } }
        @else if site.connected { span.state.good { "connected" } }
        @else { span.state.warn { "not connected" } }
    }
}

/// `/sites/{id}`
pub(super) async fn one(State(console): State<Console>, Path(id): Path<String>) -> Result<impl IntoResponse, Failure> {
    let answer = console.service.get_site(Request::new(v1::GetSiteRequest { id: id.clone() })).await?.into_inner();
    let site = answer.site.clone().ok_or_else(|| Status::internal("an empty answer"))?;
    let asked = v1::ListDriftRequest { site: id.clone(), page_size: DRIFTING, ..Default::default() };
    let drifting = console.service.list_drift(Request::new(asked)).await?.into_inner();
    let now = clock::now();
    let body = html! {
        p {
            (node(&site)) " · last word " (words::ago(site.last_seen_ms, now)) " · directive " (site.directive_counter)
            @if !site.display_name.is_empty() { " · " (site.display_name) }
            @if !site.region.is_empty() { " · region " (site.region) }
            @if !site.site_type.is_empty() { " · type " (site.site_type) }
            @if !site.labels.is_empty() { " · " (labels(&site.labels)) }
        }
        (systems(&answer.clinical_systems, now))
        (drift(&id, &drifting, now))
        (devices(&answer.devices))
        (rollouts::alarm_list(&answer.alarms, now))
    };
    Ok(console.page(&format!("Site {id}"), &body) as Html<String>)
}

fn systems(systems: &[v1::ClinicalSystem], now: Timestamp) -> Markup {
    html! {
        h2 { "Clinical systems" }
        @if systems.is_empty() { p.dim { "None: nothing watches the devices of this site." } } @else {
            table {
                thead { tr { th { "System" } th { "Kind" } th { "Health" } th { "Finding" } th { "Needs" } } }
                tbody {
                    @for system in systems {
                        tr {
                            td { (system.id) @if system.critical { " " span.warn { "critical" } } }
                            td { (system.kind) }
                            td { (words::state(&system.health)) @if system.since_ms > 0 { " " (words::since(system.since_ms, now)) } }
                            td { (system.finding) }
                            td { (system.devices.join(", ")) }
                        }
                    }
                }
            }
        }
    }
}

/// Devices that are not as they were.
fn drift(site: &str, drifting: &v1::ListDriftResponse, now: Timestamp) -> Markup {
    html! {
        @if !drifting.devices.is_empty() {
            h2 { "Drift" }
            table {
                thead { tr { th { "Device" } th { "Drift" } th { "Since" } th { "What" } } }
                tbody {
                    @for (device, one) in drifting.devices.iter().flat_map(|told| told.drift.iter().map(|one| (&told.device, one))) {
                        tr {
                            td { (device) }
                            td { span.state.warn { (one.kind.replace('_', " ")) } }
                            td { (words::ago(one.since_ms, now)) }
                            td { (one.text) }
                        }
                    }
                }
            }
            p.dim {
                "Nothing is done about it by itself. More of it: " code { "wardround device list --drift --site " (site) } ". What is right is accepted on the site's node: "
                code { "wardround node inventory --accept" } "."
            }
        }
    }
}

fn devices(devices: &[v1::Device]) -> Markup {
    html! {
        h2 { "Devices" }
        table {
            thead { tr { th { "Device" } th { "Platform" } th { "Model" } th { "Labels" } th { "Group" } th { "Patches" } } }
            tbody {
                @for device in devices {
                    tr {
                        td { (device.id) }
                        td { code { (device.platform) } }
                        td { (device.model) }
                        td { (labels(&device.labels)) }
                        td { (device.redundancy_group) }
                        td { (device.installed_patches.join(", ")) }
                    }
                }
            }
        }
    }
}

fn labels(labels: &std::collections::HashMap<String, String>) -> String {
    let mut labels: Vec<String> = labels.iter().map(|(k, v)| format!("{k}={v}")).collect();
    labels.sort();
    labels.join(" ")
}
