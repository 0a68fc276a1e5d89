//! Keys and browser sessions.

use gatewarden_actors::store::records::Role;
use serde_json::json;

use super::support::{Answer, Ask, CONFIGURED, Harness};

fn with_key(method: &str, path: &str, key: &str) -> Ask {
    Ask::new(method, path).header("x-api-key", key)
}

#[actix_web::test]
async fn a_key_is_created_used_listed_and_revoked() {
    let harness = Harness::start().await;
    let body = json!({"name": "dashboard", "role": "viewer", "expires_at": 4_000_000_000_i64});
    let created = harness.send(harness.admin("POST", "/api/keys").json(body)).await;
    assert_eq!(created.status, 201);
    let created = created.json();
    let key = created["api_key"].as_str().unwrap().to_owned();
    assert!(key.starts_with(created["key"]["prefix"].as_str().unwrap()));
    assert!(key.len() >= 11 + 1 + 43);
    assert_eq!(harness.send(with_key("GET", "/api/gateways", &key)).await.status, 200);

    let list = harness.send(harness.admin("GET", "/api/keys")).await;
    assert!(!list.text().contains(&key));
    assert!(!list.text().contains("sha256"));
    let keys = list.json()["keys"].as_array().unwrap().clone();
    let listed = keys.iter().find(|listed| listed["name"] == "dashboard").unwrap();
    assert!(listed["last_used_at"].is_i64(), "the use shows at once: {listed}");
    assert_eq!(listed["expires_at"], 4_000_000_000_i64);

    let path = format!("/api/keys/{}", created["key"]["id"]);
    assert_eq!(harness.send(harness.admin("DELETE", &path)).await.json(), json!({"deleted": true}));
    assert_eq!(harness.send(with_key("GET", "/api/gateways", &key)).await.status, 401);
    assert_eq!(harness.send(harness.admin("DELETE", &path)).await.error_code(), "key_not_found");
}

#[actix_web::test]
async fn a_malformed_new_key_is_refused() {
    let harness = Harness::start().await;
    for (body, word) in [
        (json!({}), "name"),
        (json!({"name": "x"}), "role"),
        (json!({"name": "x", "role": "root"}), "role"),
        (json!({"name": "", "role": "viewer"}), "name"),
        (json!({"name": "x", "role": "viewer", "expires_at": 1}), "expires_at"),
        (json!({"name": "x", "role": "viewer", "expires_at": "soon"}), "expires_at"),
    ] {
        let answer = harness.send(harness.admin("POST", "/api/keys").json(body.clone())).await;
        assert_eq!(answer.error_code(), "invalid_request");
        assert!(answer.json()["error"].as_str().unwrap().contains(word), "{body}");
    }
}

async fn logged_in(harness: &Harness, key: &str) -> (Answer, String) {
    let answer = harness.send(Ask::new("POST", "/api/auth/login").json(json!({"api_key": key}))).await;
    let cookie = answer.header("set-cookie").unwrap_or_default().split(';').next().unwrap().to_owned();
    (answer, cookie)
}

#[actix_web::test]
async fn a_login_sets_a_cookie_that_pages_cannot_read() {
    let harness = Harness::start().await;
    let (answer, cookie) = logged_in(&harness, &harness.key(Role::Operator)).await;
    assert_eq!(answer.status, 200);
    assert_eq!(answer.json()["role"], "operator");
    let set = answer.header("set-cookie").unwrap();
    assert!(set.contains("HttpOnly") && set.contains("SameSite=Strict") && set.contains("Path=/"), "{set}");
    assert!(!set.contains("Secure"), "plain HTTP: {set}");
    assert_eq!(harness.send(Ask::new("GET", "/api/gateways").header("cookie", &cookie)).await.status, 200);
    let (over_https, _) = {
        let ask = Ask::new("POST", "/api/auth/login").header("x-forwarded-proto", "https");
        (harness.send(ask.json(json!({"api_key": CONFIGURED}))).await, ())
    };
    assert!(over_https.header("set-cookie").unwrap().contains("Secure"));
    let (wrong, _) = logged_in(&harness, "wrong").await;
    assert_eq!(wrong.error_code(), "unauthorized");
    assert!(wrong.header("set-cookie").is_none());
}

#[actix_web::test]
async fn a_cookie_changes_things_only_from_our_own_pages() {
    let harness = Harness::start().await;
    let (_, cookie) = logged_in(&harness, &harness.key(Role::Admin)).await;
    let change = || Ask::new("POST", "/api/gateways/1/drain").header("cookie", &cookie);
    for foreign in [
        change(),
        change().header("origin", "http://evil.example"),
        change().header("origin", "null"),
        change().header("sec-fetch-site", "cross-site"),
        change().header("sec-fetch-site", "same-site"),
        change().header("sec-fetch-site", "none"),
        change().header("origin", "http://127.0.0.1:3001"),
    ] {
        let answer = harness.send(foreign).await;
        assert_eq!((answer.status.as_u16(), answer.error_code().as_str()), (403, "cross_origin"));
    }
    for own in [change().header("origin", "http://127.0.0.1:3000"), change().header("sec-fetch-site", "same-origin")] {
        assert_eq!(harness.send(own).await.status, 200);
    }
}

#[actix_web::test]
async fn a_login_from_another_page_is_refused() {
    let harness = Harness::start().await;
    let ask = Ask::new("POST", "/api/auth/login").header("origin", "http://evil.example");
    assert_eq!(harness.send(ask.json(json!({"api_key": CONFIGURED}))).await.error_code(), "cross_origin");
}

#[actix_web::test]
async fn a_session_ends_at_logout_and_with_its_key() {
    let harness = Harness::start().await;
    let (_, cookie) = logged_in(&harness, CONFIGURED).await;
    let read = || Ask::new("GET", "/api/keys").header("cookie", &cookie);
    assert_eq!(harness.send(read()).await.status, 200);
    let foreign = Ask::new("POST", "/api/auth/logout").header("cookie", &cookie);
    assert_eq!(harness.send(foreign).await.status, 403);
    let own = Ask::new("POST", "/api/auth/logout").header("cookie", &cookie).header("sec-fetch-site", "same-origin");
    let out = harness.send(own).await;
    assert_eq!(out.status, 200);
    assert!(out.header("set-cookie").unwrap().contains("Max-Age=0"));
    assert_eq!(harness.send(read()).await.error_code(), "unauthorized");

    let (_, cookie) = logged_in(&harness, &harness.key(Role::Viewer)).await;
    let read = || Ask::new("GET", "/api/gateways").header("cookie", &cookie);
    assert_eq!(harness.send(read()).await.status, 200);
    let keys = harness.send(harness.admin("GET", "/api/keys")).await.json();
    let viewer = keys["keys"].as_array().unwrap().iter().find(|key| key["name"] == "viewer").unwrap().clone();
    harness.send(harness.admin("DELETE", &format!("/api/keys/{}", viewer["id"]))).await;
    assert_eq!(harness.send(read()).await.status, 401);
    let made_up = Ask::new("GET", "/api/gateways").header("cookie", "gatewarden_session=made-up");
    assert_eq!(harness.send(made_up).await.status, 401);
}
