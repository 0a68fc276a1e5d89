//! Answers of JSON, compressed for whoever takes gzip. Streams are not touched: their messages must leave at once.
//!
//! That an answer's size tells something of the secrets in it helps only somebody who can make a browser ask with its cookie,
//! and the cookie is for our own pages alone.

use std::io::Write as _;

use actix_web::body::{BodySize, BoxBody, EitherBody, MessageBody};
use actix_web::dev::ServiceResponse;
use actix_web::http::header::{self, AcceptEncoding, Encoding, HeaderValue};
use actix_web::{HttpMessage, web};
use bytes::Bytes;
use flate2::Compression;
use flate2::write::GzEncoder;

/// Smaller answers fit into a packet anyway, bytes.
const SMALLEST: u64 = 1024;
/// From here on it takes so long that others of the same thread should not wait for it, bytes.
const LARGE: usize = 32 * 1024;
const LEVEL: Compression = Compression::new(4);

/// Whether a client says that it takes gzip.
pub(crate) fn takes_gzip(request: &impl HttpMessage) -> bool {
    request.get_header::<AcceptEncoding>().is_some_and(|accepted| {
        accepted.negotiate([Encoding::gzip(), Encoding::identity()].iter()) == Some(Encoding::gzip())
    })
}

/// Compresses an answer of JSON that is complete, where that is worth it and the client takes it.
pub(crate) async fn compress<B: MessageBody + 'static>(
    mut response: ServiceResponse<EitherBody<B>>,
) -> ServiceResponse<EitherBody<B>> {
    let is_json = |value: &HeaderValue| value.as_bytes().starts_with(b"application/json");
    let is_worth_it = matches!(response.response().body().size(), BodySize::Sized(SMALLEST..))
        && response.headers().get(header::CONTENT_TYPE).is_some_and(is_json)
        && !response.headers().contains_key(header::CONTENT_ENCODING);
    if !is_worth_it {
        return response;
    }
    response.headers_mut().append(header::VARY, HeaderValue::from_static("Accept-Encoding"));
    if !takes_gzip(response.request()) {
        return response;
    }
    let (request, response) = response.into_parts();
    let (mut head, body) = response.into_parts();
    let whole = match body.try_into_bytes() {
        Ok(whole) => whole,
        Err(body) => return ServiceResponse::new(request, head.set_body(body)),
    };
    let compressed = if whole.len() < LARGE {
        gzip(&whole)
    } else {
        let whole = whole.clone();
        web::block(move || gzip(&whole)).await.unwrap_or_default()
    };
    let body = compressed.map_or(whole, |compressed| {
        head.headers_mut().insert(header::CONTENT_ENCODING, HeaderValue::from_static("gzip"));
        compressed
    });
    ServiceResponse::new(request, head.set_body(EitherBody::right(BoxBody::new(body))))
}

/// None where there is no memory for it.
pub(crate) fn gzip(whole: &Bytes) -> Option<Bytes> {
    let mut encoder = GzEncoder::new(Vec::with_capacity(whole.len() / 4), LEVEL);
    encoder.write_all(whole).ok()?;
    encoder.finish().ok().map(Bytes::from)
}

#[cfg(test)]
mod tests {
    use actix_web::HttpResponse;
    use actix_web::test::TestRequest;

    use super::*;

    async fn encoding(accept: Option<&str>, answer: HttpResponse) -> (Option<String>, usize) {
        let mut request = TestRequest::default();
        if let Some(accept) = accept {
            request = request.insert_header((header::ACCEPT_ENCODING, accept));
        }
        let response = request.to_srv_response(answer).map_into_left_body::<BoxBody>();
        let response = compress(response).await;
        let encoding = response.headers().get(header::CONTENT_ENCODING).map(|name| name.to_str().unwrap().to_owned());
        let body = actix_web::test::read_body(response).await;
        (encoding, body.len())
    }

    fn json(length: usize) -> HttpResponse {
        HttpResponse::Ok().content_type("application/json").body("x".repeat(length))
    }

    #[actix_web::test]
    async fn json_above_a_kibibyte_is_compressed_for_who_takes_it() {
        for length in [1_024, 200_000] {
            let (encoding_then, sent) = encoding(Some("gzip, deflate, br"), json(length)).await;
            assert_eq!(encoding_then.as_deref(), Some("gzip"));
            assert!(sent < length / 5, "{sent}");
        }
        assert_eq!(encoding(Some("gzip"), json(1_023)).await, (None, 1_023));
        assert_eq!(encoding(None, json(5_000)).await, (None, 5_000));
        assert_eq!(encoding(Some("gzip;q=0, br"), json(5_000)).await, (None, 5_000));
    }

    #[actix_web::test]
    async fn streams_and_what_is_compressed_already_pass_as_they_are() {
        let endless = futures_util::stream::iter([Ok::<_, actix_web::Error>(Bytes::from_static(&[b'x'; 5_000]))]);
        let stream = HttpResponse::Ok().content_type("application/json").streaming(endless);
        assert_eq!(encoding(Some("gzip"), stream).await, (None, 5_000));
        let text = HttpResponse::Ok().content_type("text/event-stream").body("x".repeat(5_000));
        assert_eq!(encoding(Some("gzip"), text).await, (None, 5_000));
        let packed = HttpResponse::Ok()
            .content_type("application/json")
            .insert_header((header::CONTENT_ENCODING, "br"))
            .body("x".repeat(5_000));
        assert_eq!(encoding(Some("gzip"), packed).await, (Some("br".to_owned()), 5_000));
    }
}
