//! One thread with a tokio runtime on which all scripted peers of a test binary live, so that a thousand of them cost one
//! thread and the tests themselves stay plain blocking code.

use std::sync::OnceLock;

use tokio::runtime::{Builder, Handle};

/// The runtime's handle; started at first use and alive as long as the process.
pub(crate) fn runtime() -> &'static Handle {
    static RUNTIME: OnceLock<Handle> = OnceLock::new();
    RUNTIME.get_or_init(|| {
        let (give, take) = std::sync::mpsc::channel();
        std::thread::Builder::new()
            .name("scripted-peers".to_owned())
            .spawn(move || {
                let runtime = Builder::new_current_thread().enable_all().build().expect("a runtime");
                give.send(runtime.handle().clone()).expect("the test waits for the handle");
                runtime.block_on(std::future::pending::<()>());
            })
            .expect("a thread");
        take.recv().expect("the thread sends its handle")
    })
}
