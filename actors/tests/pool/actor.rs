//! The actor's door: what handles do, as messages.

use std::{sync::Arc, time::Duration};

use actix::{Actor, Context, Handler};
use parking_lot::Mutex;
use rpyc_actors::pool::{
    Acquire, Drain, PoolConfig, PoolError, PoolEvent, Release, Resize, Stats, Subscribe, WaitedFor,
};

use crate::fake::{Fake, pool, settle, with_stopped_clock};

const SECOND: Duration = Duration::from_secs(1);

/// Writes down what it is told.
struct Watcher(Arc<Mutex<Vec<PoolEvent>>>);

impl Actor for Watcher {
    type Context = Context<Self>;
}

impl Handler<PoolEvent> for Watcher {
    type Result = ();

    fn handle(&mut self, event: PoolEvent, _: &mut Context<Self>) {
        self.0.lock().push(event);
    }
}

#[test]
fn an_actor_acquires_releases_resizes_and_drains() {
    with_stopped_clock(async {
        let (pool, peers) = pool(PoolConfig::default().max_size(1));
        let address = pool.address();
        let events = Arc::<Mutex<Vec<PoolEvent>>>::default();
        let watcher = Watcher(events.clone()).start();
        address
            .send(Subscribe(watcher.downgrade().recipient()))
            .await
            .expect("it lives");

        let acquire = |message: Acquire<Fake>| {
            let address = address.clone();
            async move { address.send(message).await.expect("it lives") }
        };
        let lease = acquire(Acquire::new()).await.expect("the peers answer");
        let error = acquire(Acquire::within(SECOND)).await;
        let Err(PoolError::TimedOut {
            waited_for, after, ..
        }) = error
        else {
            panic!("there is only one");
        };
        assert_eq!((waited_for, after), (WaitedFor::Slot, SECOND));
        address
            .send(Resize { max_size: 2 })
            .await
            .expect("it lives");
        let other = acquire(Acquire::new()).await.expect("there is room now");
        address.send(Release(lease)).await.expect("it lives");
        let stats = address.send(Stats).await.expect("it lives");
        assert_eq!((stats.in_use, stats.idle, stats.max_size), (1, 1, 2));
        assert_eq!(*stats, pool.stats());
        drop(other);
        let drained = address
            .send(Drain { within: SECOND })
            .await
            .expect("it lives");
        assert!(drained.is_clean(), "{drained:?}");
        settle().await;
        assert_eq!(peers.open(), 0);
        assert!(!address.connected(), "it is gone");
        let events = events.lock();
        assert!(
            matches!(
                events[..],
                [
                    PoolEvent::Opened { .. },
                    PoolEvent::Resized { max_size: 2 },
                    PoolEvent::Opened { .. },
                    PoolEvent::Draining,
                    PoolEvent::Retired { .. },
                    PoolEvent::Retired { .. },
                    PoolEvent::Closed
                ]
            ),
            "{events:?}"
        );
    });
}

#[test]
fn a_connection_that_nobody_takes_goes_back() {
    with_stopped_clock(async {
        let (pool, _) = pool(PoolConfig::default().max_size(1));
        let lease = pool.get().await.expect("the peers answer");
        let request = pool.address().send(Acquire::<Fake>::new());
        let request = tokio::time::timeout(SECOND, request).await;
        assert!(request.is_err(), "there is only one");
        drop(lease);
        settle().await;
        assert_eq!((pool.stats().idle, pool.stats().in_use), (1, 0));
    });
}

#[test]
fn blocking_on_an_arbiter_is_refused() {
    with_stopped_clock(async {
        let (pool, _) = pool(PoolConfig::default());
        for refused in [
            pool.get_blocking().map(drop),
            pool.get_within_blocking(SECOND).map(drop),
            pool.get_connection_blocking().map(drop),
            pool.warm_up_blocking(),
            pool.drain_blocking(SECOND).map(drop),
        ] {
            assert!(
                matches!(refused, Err(PoolError::ApiMisuse(_))),
                "{refused:?}"
            );
        }
        assert!(!pool.closed(), "a refused drain does nothing");
    });
}
