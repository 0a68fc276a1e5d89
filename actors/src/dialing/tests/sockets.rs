use bytes::{Bytes, BytesMut};
use futures_util::{FutureExt, SinkExt, StreamExt};
use tokio::io::{AsyncReadExt, AsyncWriteExt, duplex};
use tokio_tungstenite::accept_async;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::protocol::CloseFrame;

use super::peer::*;
use crate::dialing::memory_budget::{MemoryAccount, MemoryBudget};
use crate::dialing::socket::{CAP_BEFORE_CONNECT, FrameCap, MAX_QUEUED_BYTES, open_halves};
use crate::dialing::{Incoming, SocketError};

#[actix::test]
async fn a_real_websocket_server_is_understood_both_ways() {
    let (port, _) = serve(|stream| async move {
        let mut socket = accept_async(stream).await.unwrap();
        socket.send(Message::text("challenge")).await.unwrap();
        assert_eq!(socket.next().await.unwrap().unwrap(), Message::text("connect \u{1f980}"));
        assert_eq!(socket.next().await.unwrap().unwrap(), Message::Ping(Bytes::from_static(b"1")));
        assert_eq!(socket.next().await.unwrap().unwrap(), Message::Pong(Bytes::from_static(b"2")));
        socket.send(Message::Ping(Bytes::from_static(b"3"))).await.unwrap();
        match socket.next().await.unwrap().unwrap() {
            Message::Close(Some(frame)) => {
                assert_eq!(u16::from(frame.code), 1000);
                assert_eq!(frame.reason.len(), 122, "cut at a character's boundary");
            }
            other => panic!("{other:?}"),
        }
        // Reading on answers the goodbye.
        while socket.next().await.is_some() {}
    })
    .await;
    let mut dialed = dial(port).await.unwrap();
    assert_eq!(soon(dialed.incoming.next()).await, Some(Ok(Incoming::text("challenge"))));
    dialed.outgoing.try_send_text("connect \u{1f980}".into()).unwrap();
    dialed.outgoing.ping(Bytes::from_static(b"1")).unwrap();
    dialed.outgoing.pong(Bytes::from_static(b"2")).unwrap();
    assert_eq!(soon(dialed.incoming.next()).await, Some(Ok(Incoming::Pong(Bytes::from_static(b"1")))));
    assert_eq!(soon(dialed.incoming.next()).await, Some(Ok(Incoming::Ping(Bytes::from_static(b"3")))));
    dialed.outgoing.close(1000, "\u{e9}".repeat(100)).unwrap();
    assert!(matches!(soon(dialed.incoming.next()).await, Some(Ok(Incoming::Close { code: Some(1000), .. }))));
    assert_eq!(soon(dialed.incoming.next()).await, None);
}

#[actix::test]
async fn a_goodbye_is_told_and_ends_the_stream() {
    let (port, _) = serve(|stream| async move {
        let mut socket = accept_async(stream).await.unwrap();
        let frame = CloseFrame { code: 1012.into(), reason: "service restart".into() };
        socket.send(Message::Close(Some(frame))).await.unwrap();
        while socket.next().await.is_some() {}
    })
    .await;
    let mut dialed = dial(port).await.unwrap();
    let goodbye = Incoming::Close { code: Some(1012), reason: "service restart".into() };
    assert_eq!(soon(dialed.incoming.next()).await, Some(Ok(goodbye)));
    assert_eq!(soon(dialed.incoming.next()).await, None);
}

#[actix::test]
async fn a_peer_that_goes_away_ends_the_stream_without_a_word() {
    let (port, _) = serve(|mut stream| async move {
        accept(&mut stream).await;
        stream.write_all(&frame(0x81, b"half")[..4]).await.unwrap();
    })
    .await;
    let mut dialed = dial(port).await.unwrap();
    assert_eq!(soon(dialed.incoming.next()).await, None);
}

#[actix::test]
async fn a_giant_frame_is_refused_by_its_header_and_never_read() {
    let (near, mut far) = duplex(64 * 1024);
    let cap = FrameCap::before_connect();
    let (mut stream, _outgoing) = open_halves(Box::new(near), BytesMut::new(), cap, &MemoryAccount::default());
    let mut announced = vec![0x81, 127];
    announced.extend((400_u64 << 20).to_be_bytes());
    far.write_all(&announced).await.unwrap();
    let refused = soon(stream.next()).await;
    let error = SocketError::FrameTooLarge { announced: 400 << 20, cap: CAP_BEFORE_CONNECT };
    assert_eq!(refused, Some(Err(error)));
    assert!(stream.held_bytes() <= 1024, "{}", stream.held_bytes());
    assert_eq!(soon(stream.next()).await, None);
    // Nothing more is taken from the peer than its transport holds.
    let more = vec![b'x'; 1 << 20];
    assert!(tokio::time::timeout(SHORT, far.write_all(&more)).await.is_err());
}

#[actix::test]
async fn an_announced_large_frame_takes_memory_only_as_it_comes_and_none_when_it_is_gone() {
    let (near, mut far) = duplex(64 * 1024);
    let cap = FrameCap::before_connect();
    cap.set(26 << 20);
    let budget = MemoryBudget::default();
    let (mut stream, _outgoing) = open_halves(Box::new(near), BytesMut::new(), cap, &budget.account());
    let payload = vec![b'x'; 25 << 20];
    let bytes = frame(0x81, &payload);

    far.write_all(&bytes[..1000]).await.unwrap();
    assert!(stream.next().now_or_never().is_none());
    assert!(stream.held_bytes() < 64 * 1024, "{}", stream.held_bytes());
    assert_eq!(budget.used(), 0);

    let (message, written) = tokio::join!(stream.next(), far.write_all(&bytes[1000..]));
    written.unwrap();
    let Some(Ok(Incoming::Text(text, permit))) = message else { panic!("no message") };
    assert_eq!(text.len(), 25 << 20);
    assert_eq!(budget.used(), 25 << 20);
    drop((text, permit));
    assert_eq!(budget.used(), 0);
    assert!(stream.next().now_or_never().is_none());
    assert_eq!(stream.held_bytes(), 0, "a quiet connection holds no buffer");
}

#[actix::test]
async fn a_message_in_fragments_is_joined_under_the_cap() {
    let (port, _) = serve(|mut stream| async move {
        accept(&mut stream).await;
        let part = vec![b'x'; CAP_BEFORE_CONNECT / 2];
        for bytes in [frame(0x01, &part), frame(0x89, b"p"), frame(0x80, &part)] {
            stream.write_all(&bytes).await.unwrap();
        }
        for bytes in [frame(0x01, &part), frame(0x00, &part), frame(0x80, b"x")] {
            stream.write_all(&bytes).await.unwrap();
        }
        let _ = stream.read_u8().await;
    })
    .await;
    let mut dialed = dial(port).await.unwrap();
    assert_eq!(soon(dialed.incoming.next()).await, Some(Ok(Incoming::Ping(Bytes::from_static(b"p")))));
    assert_eq!(soon(dialed.incoming.next()).await, Some(Ok(Incoming::text("x".repeat(CAP_BEFORE_CONNECT)))));
    let error = SocketError::FrameTooLarge { announced: CAP_BEFORE_CONNECT as u64 + 1, cap: CAP_BEFORE_CONNECT };
    assert_eq!(soon(dialed.incoming.next()).await, Some(Err(error)));
    assert_eq!(soon(dialed.incoming.next()).await, None);
}

#[actix::test]
async fn the_cap_is_raised_through_its_handle() {
    let (port, _) = serve(|mut stream| async move {
        accept(&mut stream).await;
        stream.write_all(&frame(0x81, b"small")).await.unwrap();
        let mut byte = [0; 1];
        stream.read_exact(&mut byte).await.unwrap();
        stream.write_all(&frame(0x81, &vec![b'x'; 3 << 20])).await.unwrap();
        let _ = stream.read_to_end(&mut Vec::new()).await;
    })
    .await;
    let mut dialed = dial(port).await.unwrap();
    soon(dialed.incoming.next()).await.unwrap().unwrap();
    dialed.frame_cap.set(26 << 20);
    dialed.outgoing.try_send_text("connect".into()).unwrap();
    match soon(dialed.incoming.next()).await {
        Some(Ok(Incoming::Text(text, _))) => assert_eq!(text.len(), 3 << 20),
        other => panic!("{:?}", other.map(|outcome| outcome.is_ok())),
    }
}

#[actix::test]
async fn a_peer_that_does_not_read_fills_a_bounded_queue_and_no_more() {
    let (port, _) = serve(|mut stream| async move {
        accept(&mut stream).await;
        std::future::pending::<()>().await;
        drop(stream);
    })
    .await;
    let dialed = dial(port).await.unwrap();
    let mut accepted = 0;
    // Lets the writer run between two messages: what the operating system's buffers take is finite.
    let overflow = soon(async {
        loop {
            match dialed.outgoing.try_send_text("x".repeat(256 * 1024)) {
                Ok(()) => accepted += 1,
                Err(error) => return error,
            }
            tokio::task::yield_now().await;
        }
    })
    .await;
    assert_eq!(overflow, SocketError::SlowPeer);
    assert!(accepted >= MAX_QUEUED_BYTES / (256 * 1024));
    assert!(dialed.outgoing.queued_bytes() <= MAX_QUEUED_BYTES);
}

#[actix::test]
async fn dropping_the_halves_sends_what_is_queued_and_then_ends_the_connection() {
    let (near, mut far) = duplex(64 * 1024);
    let (stream, outgoing) =
        open_halves(Box::new(near), BytesMut::new(), FrameCap::before_connect(), &MemoryAccount::default());
    outgoing.try_send_text("last words".into()).unwrap();
    outgoing.close(1001, "stopping").unwrap();
    drop((stream, outgoing));
    let mut all = Vec::new();
    soon(far.read_to_end(&mut all)).await.unwrap();
    assert_eq!(all.len(), (2 + 4 + 10) + (2 + 4 + 2 + 8), "both frames, masked");
    assert_eq!((all[0], all[16]), (0x81, 0x88));
}

#[actix::test]
async fn a_stuck_peer_does_not_keep_a_dropped_socket_alive() {
    let (near, far) = duplex(1024);
    let (stream, outgoing) =
        open_halves(Box::new(near), BytesMut::new(), FrameCap::before_connect(), &MemoryAccount::default());
    outgoing.try_send_text("x".repeat(100_000)).unwrap();
    drop(stream);
    soon(async {
        while outgoing.ping(Bytes::new()) != Err(SocketError::Closed) {
            tokio::task::yield_now().await;
        }
    })
    .await;
    drop(far);
}
