//! What tests do to the store's threads.

use std::sync::Barrier;

use super::*;

impl StoreHandle {
    /// Does something to the writer's connection, outside of a transaction.
    pub(crate) async fn shared_writer_for_test(&self, act: fn(&mut Connection) -> diesel::QueryResult<()>) {
        self.maintain(act).await.unwrap();
    }

    /// Closes the connections of all threads, so that a test may look at the files.
    pub(crate) async fn close_for_test(&self) {
        let spoiled = || StoreError::Panicked("not at all".to_owned());
        let _ = self.shared.writer.run::<(), _>("close", move |_| Err(spoiled())).await;
        // One job for each of the two threads: neither ends before both have one.
        let both = Arc::new(Barrier::new(2));
        let close = |both: Arc<Barrier>| {
            self.shared.readers.run::<(), _>("close", move |_| {
                both.wait();
                Err(spoiled())
            })
        };
        let _ = futures_util::future::join(close(both.clone()), close(both)).await;
    }
}
