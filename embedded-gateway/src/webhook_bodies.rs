//! Bodies of strangers, while they are read and worked through: how much they hold together is bounded, and how long one may take to
//! arrive. Where there is no room, the oldest goes of those whose sender holds most: who sends many and ends none shuts nobody out.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::net::IpAddr;
use std::ops::Deref;
use std::pin::pin;
use std::rc::Rc;
use std::time::Duration;

use actix_web::web::{Bytes, BytesMut};
use futures_util::{Stream, StreamExt as _};
use gatewarden_listener::network_of;
use tokio::sync::Notify;

/// How long a body may take to arrive.
const WITHIN: Duration = Duration::from_secs(10);

/// All that are held. Clones share it.
#[derive(Debug, Clone)]
pub(crate) struct Bodies {
    held: Rc<RefCell<BTreeMap<u64, Held>>>,
    /// The number of the next one. None is given twice: one that went takes itself out later.
    next: Rc<Cell<u64>>,
    /// Bytes of all together.
    limit: usize,
}

#[derive(Debug)]
struct Held {
    sender: IpAddr,
    bytes: usize,
    /// It hasn't arrived as a whole, and may have to go.
    is_open: bool,
    gone: Rc<Notify>,
}

/// One that has arrived. Its room is given back when it is dropped.
#[derive(Debug)]
pub(crate) struct Body {
    bytes: BytesMut,
    _room: Room,
}

impl Deref for Body {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.bytes
    }
}

/// Why there is none.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Unread {
    TooLong,
    /// Its sender broke off.
    Broken,
    Late,
    /// There was no room for it any more.
    Crowded,
}

#[derive(Debug)]
struct Room {
    bodies: Bodies,
    /// Those of older bodies are lower.
    number: u64,
    gone: Rc<Notify>,
}

impl Bodies {
    /// Bodies of `limit` bytes together.
    pub(crate) fn new(limit: usize) -> Self {
        Self { held: Rc::default(), next: Rc::default(), limit }
    }

    /// Reads a body of at most `longest` bytes.
    pub(crate) async fn read<E>(
        &self,
        sender: IpAddr,
        body: impl Stream<Item = Result<Bytes, E>>,
        longest: usize,
    ) -> Result<Body, Unread> {
        let room = self.room(sender);
        let mut body = pin!(body);
        let arriving = async {
            let mut bytes = BytesMut::new();
            while let Some(piece) = body.next().await {
                let piece = piece.map_err(|_| Unread::Broken)?;
                let wanted = bytes.len().saturating_add(piece.len());
                if wanted > longest {
                    return Err(Unread::TooLong);
                }
                if !room.grow_to(wanted) {
                    return Err(Unread::Crowded);
                }
                bytes.extend_from_slice(&piece);
            }
            if room.is_kept() { Ok(bytes) } else { Err(Unread::Crowded) }
        };
        let bytes = tokio::select! {
            arrived = tokio::time::timeout(WITHIN, arriving) => arrived.unwrap_or(Err(Unread::Late))?,
            () = room.gone.notified() => return Err(Unread::Crowded),
        };
        Ok(Body { bytes, _room: room })
    }

    fn room(&self, sender: IpAddr) -> Room {
        let mut held = self.held.borrow_mut();
        let number = self.next.get();
        self.next.set(number.wrapping_add(1));
        let gone = Rc::new(Notify::new());
        let empty = Held { sender: network_of(sender), bytes: 0, is_open: true, gone: Rc::clone(&gone) };
        held.insert(number, empty);
        Room { bodies: self.clone(), number, gone }
    }
}

impl Room {
    /// Has room for `bytes` in all, for which others may have to go. False: it is this one that has to.
    fn grow_to(&self, bytes: usize) -> bool {
        let mut held = self.bodies.held.borrow_mut();
        match held.get_mut(&self.number) {
            Some(own) => own.bytes = bytes,
            None => return false,
        }
        while held.values().map(|body| body.bytes).sum::<usize>() > self.bodies.limit {
            let mut by_sender: BTreeMap<IpAddr, usize> = BTreeMap::new();
            for body in held.values().filter(|body| body.is_open) {
                *by_sender.entry(body.sender).or_default() += body.bytes;
            }
            let most = by_sender.into_iter().max_by_key(|(_, bytes)| *bytes).map(|(sender, _)| sender);
            let of_sender = |(_, body): &(&u64, &Held)| body.is_open && body.bytes > 0 && Some(body.sender) == most;
            let Some(oldest) = held.iter().find(of_sender).map(|(number, _)| *number) else { return false };
            if let Some(body) = held.remove(&oldest) {
                body.gone.notify_one();
            }
            if oldest == self.number {
                return false;
            }
        }
        true
    }

    /// It has arrived, and doesn't go any more. False: it had to already.
    fn is_kept(&self) -> bool {
        let mut held = self.bodies.held.borrow_mut();
        held.get_mut(&self.number).map(|own| own.is_open = false).is_some()
    }
}

impl Drop for Room {
    fn drop(&mut self) {
        self.bodies.held.borrow_mut().remove(&self.number);
    }
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;
    use std::pin::Pin;

    use futures_util::FutureExt as _;
    use futures_util::stream::{self, LocalBoxStream};

    use super::*;

    const EVE: [u8; 4] = [192, 0, 2, 1];
    const SERVICE: [u8; 4] = [192, 0, 2, 2];
    type Reading = Pin<Box<dyn Future<Output = Result<Body, Unread>>>>;

    fn pieces(sizes: &[usize]) -> LocalBoxStream<'static, Result<Bytes, Infallible>> {
        let pieces: Vec<_> = sizes.iter().map(|size| Ok(Bytes::from(vec![b'x'; *size]))).collect();
        stream::iter(pieces).boxed_local()
    }

    /// A body that arrives so far and never ends; it has been read so far.
    fn unfinished(bodies: &Bodies, sender: [u8; 4], size: usize) -> Reading {
        let (bodies, body) = (bodies.clone(), pieces(&[size]).chain(stream::pending()));
        let mut reading: Reading = Box::pin(async move { bodies.read(sender.into(), body, 100).await });
        assert!((&mut reading).now_or_never().is_none());
        reading
    }

    async fn whole(bodies: &Bodies, sender: [u8; 4], size: usize) -> Result<usize, Unread> {
        bodies.read(sender.into(), pieces(&[size]), 100).await.map(|body| body.len())
    }

    fn held(bodies: &Bodies) -> usize {
        bodies.held.borrow().values().map(|body| body.bytes).sum()
    }

    #[tokio::test]
    async fn a_body_that_had_to_go_takes_no_newcomer_with_it() {
        let bodies = Bodies::new(300);
        let gone = bodies.room(EVE.into());
        assert!(gone.grow_to(90));
        // Another one needed its room; it hears of that when its task is polled next.
        bodies.held.borrow_mut().remove(&gone.number);
        let newcomer = bodies.room(SERVICE.into());
        drop(gone);
        assert!(newcomer.grow_to(90));
        assert_eq!(held(&bodies), 90);
    }

    #[tokio::test(start_paused = true)]
    async fn who_ends_no_body_shuts_nobody_out() {
        let bodies = Bodies::new(300);
        let mut of_eve: Vec<Reading> = (0..3).map(|_| unfinished(&bodies, EVE, 100)).collect();
        assert_eq!(whole(&bodies, SERVICE, 90).await, Ok(90));
        let ended: Vec<_> = of_eve.iter_mut().map(|reading| reading.now_or_never().map(Result::unwrap_err)).collect();
        assert_eq!(ended, [Some(Unread::Crowded), None, None], "the oldest goes");
        // Also where the two can't be told apart.
        let _more = unfinished(&bodies, EVE, 100);
        assert_eq!(whole(&bodies, EVE, 90).await, Ok(90));
        assert!(of_eve[1].as_mut().now_or_never().is_some());
    }

    #[tokio::test(start_paused = true)]
    async fn room_is_made_by_who_holds_most() {
        let bodies = Bodies::new(300);
        let mut of_service = unfinished(&bodies, SERVICE, 90);
        let mut of_eve: Vec<Reading> = (0..2).map(|_| unfinished(&bodies, EVE, 100)).collect();
        of_eve.push(unfinished(&bodies, EVE, 100));
        assert!(of_service.as_mut().now_or_never().is_none());
        assert!(of_eve[0].as_mut().now_or_never().is_some() && of_eve[1].as_mut().now_or_never().is_none());
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_worked_through_holds_its_room_and_does_not_go() {
        let bodies = Bodies::new(200);
        let one = bodies.read(EVE.into(), pieces(&[60, 40]), 100).await.unwrap();
        let other = bodies.read(EVE.into(), pieces(&[100]), 100).await.unwrap();
        assert_eq!((held(&bodies), whole(&bodies, SERVICE, 1).await), (200, Err(Unread::Crowded)));
        drop(one);
        assert_eq!(whole(&bodies, SERVICE, 100).await, Ok(100));
        drop(other);
        assert_eq!(held(&bodies), 0);
        assert!(bodies.held.borrow().is_empty());
    }

    #[tokio::test(start_paused = true)]
    async fn a_body_that_does_not_arrive_gives_its_room_back() {
        let bodies = Bodies::new(300);
        assert_eq!(unfinished(&bodies, EVE, 50).await.unwrap_err(), Unread::Late);
        assert_eq!(bodies.read(EVE.into(), pieces(&[60, 60]), 100).await.unwrap_err(), Unread::TooLong);
        let broken = pieces(&[60]).map(|_| Err::<Bytes, _>("cut"));
        assert_eq!(bodies.read(EVE.into(), broken, 100).await.unwrap_err(), Unread::Broken);
        drop(unfinished(&bodies, EVE, 50));
        assert!(bodies.held.borrow().is_empty());
    }
}
