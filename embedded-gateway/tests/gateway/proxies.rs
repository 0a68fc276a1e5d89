//! Clients behind a proxy: who is locked out, and who isn't.

use gatewarden_embedded_gateway::config::Auth;
use gatewarden_protocol::Secret;

use crate::support::{Gateway, TOKEN, request};

async fn status(gateway: &Gateway, client: &str, token: &str) -> u16 {
    let bearer = format!("Bearer {token}");
    let headers = [("authorization", bearer.as_str()), ("x-forwarded-for", client)];
    request(gateway, "GET", "/sessions", &headers, "").await.status
}

#[actix::test]
async fn guesses_lock_out_their_own_client_and_no_other_behind_the_proxy() {
    const SHORT: &str = "a-short-one";
    let gateway = Gateway::start(|config| config.auth = Auth::Token(Secret::new(SHORT))).await;
    for _ in 0..10 {
        assert_eq!(status(&gateway, "203.0.113.5", "wrong").await, 401);
    }
    assert_eq!(status(&gateway, "203.0.113.5", "wrong").await, 429);
    // What stands before the proxy's own word is the client's, who may write there what it likes.
    assert_eq!(status(&gateway, "198.51.100.7, 203.0.113.5", "wrong").await, 429);
    assert_eq!(status(&gateway, "203.0.113.6", "wrong").await, 401);
    assert_eq!(status(&gateway, "203.0.113.6", SHORT).await, 200);
}

#[actix::test]
async fn a_right_token_is_let_in_whatever_others_behind_the_same_address_tried() {
    // A proxy that isn't trusted: all its clients are one.
    let gateway = Gateway::start(|config| config.trusted_proxies.clear()).await;
    for client in 0..20 {
        status(&gateway, &format!("203.0.113.{client}"), "wrong").await;
    }
    assert_eq!(status(&gateway, "203.0.113.99", "wrong").await, 429);
    for client in ["203.0.113.5", "203.0.113.99"] {
        assert_eq!(status(&gateway, client, TOKEN).await, 200);
    }
    assert_eq!(status(&gateway, "203.0.113.99", "wrong").await, 429);
}
