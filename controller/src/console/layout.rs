//! What every page has around it.

use axum::{
    http::{StatusCode, header},
    response::{Html, IntoResponse, Response},
};
use maud::{DOCTYPE, Markup, html};
use tonic::{Code, Status};
use tonic_types::StatusExt as _;

use super::{Console, words};
use crate::clock;

/// A page that could not be made.
pub(super) struct Failure(Status);

impl From<Status> for Failure {
    fn from(status: Status) -> Self {
        Self(status)
    }
}

impl IntoResponse for Failure {
    fn into_response(self) -> Response {
        let code = match self.0.code() {
            Code::NotFound => StatusCode::NOT_FOUND,
            Code::InvalidArgument => StatusCode::BAD_REQUEST,
            Code::Unavailable => StatusCode::SERVICE_UNAVAILABLE,
            _ => StatusCode::INTERNAL_SERVER_ERROR,
        };
        let details = self.0.get_error_details();
        let hint = details.error_info().and_then(|info| info.metadata.get("hint")).cloned().unwrap_or_default();
        (
            code,
            bare("Not shown", &html! { p { (self.0.message()) } @if !hint.is_empty() { p.dim { "hint: " (hint) } } }),
        )
            .into_response()
    }
}

/// Any other address.
pub(super) async fn not_found() -> Response {
    (
        StatusCode::NOT_FOUND,
        bare("Not found", &html! { p { "There is no such page." } p { a href="/" { "All rollouts" } } }),
    )
        .into_response()
}

/// The style sheet.
pub(super) async fn style() -> Response {
    ([(header::CONTENT_TYPE, "text/css; charset=utf-8")], include_str!("assets/console.css")).into_response()
}

/// The script that keeps pages fresh.
pub(super) async fn script() -> Response {
    ([(header::CONTENT_TYPE, "text/javascript; charset=utf-8")], include_str!("assets/console.js")).into_response()
}

impl Console {
    /// A page with the header's numbers.
    pub(super) fn page(&self, title: &str, body: &Markup) -> Html<String> {
        let vitals = self.api.vitals();
        let unhealthy = vitals.systems.get("unhealthy").copied().unwrap_or_default();
        let header = html! {
            span.vitals {
                (vitals.connected) " of " (vitals.sites) " sites connected"
                @if unhealthy > 0 { " · " span.bad { (unhealthy) " clinical systems unhealthy" } }
                " · " (words::exact(clock::now().0))
            }
        };
        whole(title, &header, &html! { h1 { (title) } (body) }, true)
    }
}

fn bare(title: &str, body: &Markup) -> Html<String> {
    whole(title, &html! {}, &html! { h1 { (title) } (body) }, false)
}

fn whole(title: &str, header: &Markup, body: &Markup, live: bool) -> Html<String> {
    let page = html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                title { (title) " · wardround" }
                link rel="stylesheet" href="/assets/console.css";
                @if live {
                    noscript { meta http-equiv="refresh" content="5"; }
                    script src="/assets/console.js" defer {}
                }
            }
            body {
                div #stale role="alert" { "The controller does not answer. What you see is old." }
                header {
                    strong { "wardround" }
                    nav { a href="/" { "Rollouts" } " · " a href="/sites" { "Sites" } }
                    (header)
                }
                main { (body) }
                footer { "Read only. Orders carry a person's signature, so they are given with the " code { "wardround" } " command." }
            }
        }
    };
    Html(page.into_string())
}
