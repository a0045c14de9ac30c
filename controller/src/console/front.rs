//! Before every page: who may ask, and what the browser may do with the answer.

use std::net::IpAddr;

use axum::{
    extract::{Request, State},
    http::{HeaderMap, HeaderValue, Method, StatusCode, header},
    middleware::Next,
    response::{IntoResponse as _, Response},
};

/// Scripts and styles from this server only; nothing inline, nothing from elsewhere, no frames, no forms.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self'; \
                      base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

/// Where the console listens.
#[derive(Debug, Clone, Copy)]
pub(super) struct Front {
    /// On a loopback address.
    pub(super) loopback: bool,
}

/// Lets GET and HEAD through and sets the security headers on every answer.
pub(super) async fn guard(State(front): State<Front>, request: Request, next: Next) -> Response {
    let mut answer = if request.method() != Method::GET && request.method() != Method::HEAD {
        (StatusCode::METHOD_NOT_ALLOWED, "The console only shows; orders are given with the wardround command.\n")
            .into_response()
    } else if front.loopback && !names_loopback(request.headers()) {
        (StatusCode::MISDIRECTED_REQUEST, "Open the console as http://localhost or http://127.0.0.1.\n").into_response()
    } else {
        next.run(request).await
    };
    let headers = answer.headers_mut();
    for (name, value) in [
        (header::CONTENT_SECURITY_POLICY, POLICY),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::REFERRER_POLICY, "no-referrer"),
        (header::X_FRAME_OPTIONS, "DENY"),
        (header::CACHE_CONTROL, "no-store"),
    ] {
        headers.insert(name, HeaderValue::from_static(value));
    }
    answer
}

/// A page elsewhere could point a name of its own at 127.0.0.1 and read this console through the visitor's browser
/// (DNS rebinding); the Host header then carries that name.
fn names_loopback(headers: &HeaderMap) -> bool {
    let Some(host) = headers.get(header::HOST).and_then(|h| h.to_str().ok()) else { return false };
    let name = match host.strip_prefix('[') {
        Some(rest) => rest.split(']').next().unwrap_or_default(),
        None => host.split(':').next().unwrap_or_default(),
    };
    name.eq_ignore_ascii_case("localhost") || name.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_foreign_name_for_loopback_is_refused() {
        let host = |value: &str| HeaderMap::from_iter([(header::HOST, HeaderValue::from_str(value).unwrap())]);
        for good in ["localhost", "LOCALHOST:7444", "127.0.0.1:7444", "127.0.0.2", "[::1]:7444"] {
            assert!(names_loopback(&host(good)), "{good}");
        }
        for bad in ["", "evil.example", "localhost.evil.example", "127.0.0.1.evil.example:80", "10.0.0.1", "[::2]"] {
            assert!(!names_loopback(&host(bad)), "{bad}");
        }
        assert!(!names_loopback(&HeaderMap::new()));
    }
}
