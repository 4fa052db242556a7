//! A thread with a runtime of its own.

use std::{future::Future, thread::JoinHandle};

/// Runs a future on a thread and a current-thread runtime of its own.
///
/// As a spawned task, since the root future of `block_on` is woken in a slower way.
pub(crate) fn spawn<F, M>(make: M) -> JoinHandle<()>
where
    F: Future<Output = ()> + Send + 'static,
    M: FnOnce() -> F + Send + 'static,
{
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .expect("a runtime can be built");
        let _inside = runtime.enter();
        let task = runtime.spawn(make());
        runtime.block_on(task).expect("the task does not panic");
    })
}
