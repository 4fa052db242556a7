//! The gate under waiters that come, go and are cancelled.

use std::{sync::atomic::AtomicBool, task::Wake};

use super::*;

#[derive(Default)]
struct Flag(AtomicBool);

impl Wake for Flag {
    fn wake(self: Arc<Self>) {
        self.0.store(true, Ordering::SeqCst);
    }
}

struct Task<'a> {
    future: Pin<Box<dyn Future<Output = Result<Credit, StreamError>> + 'a>>,
    flag: Arc<Flag>,
}

impl<'a> Task<'a> {
    fn new(gate: &'a Arc<Gate>, bytes: usize) -> Self {
        Self {
            future: Box::pin(gate.acquire(bytes)),
            flag: Arc::default(),
        }
    }

    fn poll(&mut self) -> Poll<Result<Credit, StreamError>> {
        let waker = self.flag.clone().into();
        self.future.as_mut().poll(&mut Context::from_waker(&waker))
    }

    fn woken(&self) -> bool {
        self.flag.0.load(Ordering::SeqCst)
    }
}

#[test]
fn eight_waiters_are_served_in_order() {
    let gate = Gate::new(100);
    let all = gate.try_acquire(100).expect("the gate is empty");
    let mut tasks: Vec<_> = (0..8).map(|_| Task::new(&gate, 50)).collect();
    for task in &mut tasks {
        assert!(task.poll().is_pending());
    }
    drop(all);
    for pair in tasks.chunks_mut(2) {
        assert!(pair.iter().all(Task::woken));
        for task in pair {
            let Poll::Ready(Ok(credit)) = task.poll() else {
                panic!("woken without credit")
            };
            drop(credit);
        }
    }
    assert_eq!(gate.used(), 0);
    assert!(!gate.is_contended());
}

#[test]
fn newcomers_do_not_overtake() {
    let gate = Gate::new(100);
    let held = gate.try_acquire(80).expect("there is room");
    let mut heavy = Task::new(&gate, 60);
    assert!(heavy.poll().is_pending());
    assert!(gate.try_acquire(1).is_none());
    drop(held);
    assert!(heavy.poll().is_ready());
}

#[test]
fn something_above_the_cap_passes_alone() {
    let gate = Gate::new(100);
    let small = gate.try_acquire(1).expect("there is room");
    let mut large = Task::new(&gate, 5000);
    assert!(large.poll().is_pending());
    drop(small);
    let Poll::Ready(Ok(credit)) = large.poll() else {
        panic!("not served")
    };
    assert_eq!(credit.amount(), 100);
}

#[test]
fn cancelled_waiters_give_back() {
    let gate = Gate::new(100);
    let held = gate.try_acquire(100).expect("there is room");
    let mut first = Task::new(&gate, 100);
    let mut second = Task::new(&gate, 100);
    let mut third = Task::new(&gate, 100);
    assert!(first.poll().is_pending() && second.poll().is_pending() && third.poll().is_pending());
    drop(second);
    drop(held);
    assert!(first.woken() && !third.woken());
    drop(first);
    assert!(third.woken());
    assert!(third.poll().is_ready());
    drop(third);
    assert_eq!(gate.used(), 0);
}

#[test]
fn close_wakes_everybody_with_the_error() {
    let gate = Gate::new(10);
    let held = gate.try_acquire(10).expect("there is room");
    let mut tasks: Vec<_> = (0..3).map(|_| Task::new(&gate, 5)).collect();
    assert!(tasks.iter_mut().all(|task| task.poll().is_pending()));
    gate.close(StreamError::Closed);
    for task in &mut tasks {
        assert!(task.woken());
        assert!(matches!(task.poll(), Poll::Ready(Err(StreamError::Closed))));
    }
    drop(held);
    assert!(matches!(
        Task::new(&gate, 1).poll(),
        Poll::Ready(Err(StreamError::Closed))
    ));
}

#[test]
fn split_merge_and_set_keep_the_sum() {
    let gate = Gate::new(100);
    let mut credit = gate.try_acquire(60).expect("there is room");
    let part = credit.split(20);
    assert_eq!((credit.amount(), part.amount(), gate.used()), (40, 20, 60));
    credit.merge(part);
    credit.set(150);
    assert_eq!(gate.used(), 150);
    assert!(!gate.is_open());
    credit.set(10);
    assert_eq!(gate.used(), 10);
    drop(credit);
    assert_eq!(gate.used(), 0);
}

#[test]
fn many_threads_lose_no_credit() {
    let gate = Gate::new(1000);
    std::thread::scope(|scope| {
        for seed in 0..8usize {
            let gate = &gate;
            scope.spawn(move || {
                for round in 0..5000 {
                    let credit =
                        pollster::block_on(gate.acquire((seed * 131 + round * 7) % 1200 + 1));
                    drop(credit.expect("nobody closes the gate"));
                }
            });
        }
    });
    assert_eq!(gate.used(), 0);
    assert!(!gate.is_contended());
}

#[test]
fn whoever_holds_credit_back_is_woken_when_somebody_waits_for_it() {
    let gate = Gate::new(100);
    let flag = Arc::<Flag>::default();
    let waker = flag.clone().into();
    let cx = Context::from_waker(&waker);
    let held = gate.try_acquire(10).expect("there is room");
    assert!(gate.poll_wanted(&cx).is_pending());
    // Served at once: nobody waits.
    let mut small = Task::new(&gate, 20);
    assert!(small.poll().is_ready());
    drop(small);
    assert!(!flag.0.load(Ordering::SeqCst));
    assert_eq!(gate.waits().0, 0);

    let mut large = Task::new(&gate, 100);
    assert!(large.poll().is_pending());
    assert!(flag.0.load(Ordering::SeqCst));
    assert!(gate.poll_wanted(&cx).is_ready());
    drop(held);
    assert!(large.poll().is_ready());
    assert_eq!(gate.waits().0, 1);
    assert!(gate.waits().1 > Duration::ZERO);
    assert!(gate.poll_wanted(&cx).is_pending());
    gate.close(StreamError::Closed);
    assert!(gate.poll_wanted(&cx).is_ready(), "it never opens again");
}
