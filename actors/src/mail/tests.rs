//! What is handed over, and what is posted all the same.

use std::{
    cell::RefCell,
    rc::Rc,
    task::{Context as TaskContext, Poll},
};

use actix::Actor;
use tokio::task::yield_now;

use super::*;
use crate::{
    error::LossReason,
    work::{self, WorkContext},
};

/// What everybody did, in order.
#[derive(Clone, Default)]
struct Diary(Rc<RefCell<Vec<String>>>);

impl Diary {
    fn note(&self, what: impl Into<String>) {
        self.0.borrow_mut().push(what.into());
    }

    fn take(&self) -> Vec<String> {
        std::mem::take(&mut self.0.borrow_mut())
    }
}

/// Writes down what it gets.
struct Neighbour {
    diary: Diary,
    /// Who is handed an answer to each message.
    other: Option<WorkAddr<Self>>,
    ends: bool,
}

/// What a neighbour does when it gets a message, besides noting it.
enum What {
    Note(u32),
    Panic,
    End,
    /// The end as well, and there is no work now that would notice.
    EndLater,
    /// This is the other one from now on.
    Meet(WorkAddr<Neighbour>),
    /// Posts and hands over these, noting when the second is done.
    Pass(u32, u32),
}

struct Letter(What);

impl Message for Letter {
    type Result = ();
}

impl Actor for Neighbour {
    type Context = WorkContext<Self>;
}

impl Work for Neighbour {
    fn work(&mut self, _: &mut WorkContext<Self>, _: &mut TaskContext<'_>) -> Poll<()> {
        if self.ends {
            Poll::Ready(())
        } else {
            Poll::Pending
        }
    }

    fn panicked(&mut self, _: LossReason) {
        self.diary.note("panicked");
    }
}

impl Handler<Letter> for Neighbour {
    type Result = ();

    fn handle(&mut self, Letter(what): Letter, ctx: &mut WorkContext<Self>) {
        match what {
            What::Note(number) => {
                self.diary.note(format!("got {number}"));
                if number < 200
                    && let Some(other) = &self.other
                {
                    // Whoever handed it over is in the middle of its turn.
                    let _ = other.hand(Letter(What::Note(number + 100)));
                }
            }
            What::Panic => panic!("stepped on"),
            What::End => self.ends = true,
            What::EndLater => {
                self.ends = true;
                ctx.settle();
            }
            What::Meet(other) => self.other = Some(other),
            What::Pass(posted, handed) => {
                let other = self.other.as_ref().expect("there is one");
                let posted = other.post(Letter(What::Note(posted)));
                let handed = other.hand(Letter(What::Note(handed)));
                self.diary
                    .note(format!("passed {} {}", posted.is_ok(), handed.is_ok()));
            }
        }
    }
}

/// Hands a message over in a turn, as an actor does.
fn hand(to: &WorkAddr<Neighbour>, what: What) -> Result<(), Gone> {
    here::in_turn(|| to.hand(Letter(what)))
}

fn started(diary: &Diary, other: Option<WorkAddr<Neighbour>>) -> WorkAddr<Neighbour> {
    let (diary, ends) = (diary.clone(), false);
    work::start(Neighbour { diary, other, ends })
}

async fn settle() {
    for _ in 0..10 {
        yield_now().await;
    }
}

#[actix::test]
async fn what_is_handed_over_is_done_when_that_returns() {
    let diary = Diary::default();
    let neighbour = started(&diary, None);
    hand(&neighbour, What::Note(1)).expect("it lives");
    assert_eq!(diary.take(), [""; 0], "it has not started");
    settle().await;
    assert_eq!(diary.take(), ["got 1"]);
    hand(&neighbour, What::Note(2)).expect("it lives");
    assert_eq!(diary.take(), ["got 2"]);
}

#[actix::test]
async fn what_was_posted_before_is_not_overtaken() {
    let diary = Diary::default();
    let neighbour = started(&diary, None);
    settle().await;
    neighbour.post(Letter(What::Note(1))).expect("it lives");
    hand(&neighbour, What::Note(2)).expect("it lives");
    assert_eq!(diary.take(), [""; 0]);
    settle().await;
    assert_eq!(diary.take(), ["got 1", "got 2"]);
}

#[actix::test]
async fn whoever_has_no_turn_posts() {
    let diary = Diary::default();
    let neighbour = started(&diary, None);
    settle().await;
    neighbour.hand(Letter(What::Note(1))).expect("it lives");
    assert_eq!(diary.take(), [""; 0]);
    settle().await;
    assert_eq!(diary.take(), ["got 1"]);
}

#[actix::test]
async fn what_is_handed_over_waits_behind_what_was_posted() {
    let diary = Diary::default();
    let lower = started(&diary, None);
    let upper = started(&diary, Some(lower));
    settle().await;
    hand(&upper, What::Pass(201, 202)).expect("it lives");
    assert_eq!(diary.take(), ["passed true true"]);
    settle().await;
    assert_eq!(diary.take(), ["got 201", "got 202"]);
}

#[actix::test]
async fn an_answer_waits_until_its_receiver_is_free() {
    let diary = Diary::default();
    let lower = started(&diary, None);
    let upper = started(&diary, Some(lower.clone()));
    lower
        .post(Letter(What::Meet(upper.clone())))
        .expect("it lives");
    settle().await;
    hand(&upper, What::Note(1)).expect("it lives");
    assert_eq!(diary.take(), ["got 1", "got 101"]);
    settle().await;
    assert_eq!(diary.take(), ["got 201"]);
}

#[actix::test]
async fn a_neighbour_that_panics_gets_nothing_more() {
    let diary = Diary::default();
    let neighbour = started(&diary, None);
    settle().await;
    hand(&neighbour, What::Panic).expect("it lived");
    assert_eq!(diary.take(), ["panicked"]);
    // Nobody learns of it from a message that is refused before the news come.
    hand(&neighbour, What::Note(1)).expect("its letterbox is there");
    settle().await;
    assert_eq!(diary.take(), [""; 0]);
    assert_eq!(hand(&neighbour, What::Note(2)), Err(Gone));
    assert!(!neighbour.connected());
}

#[actix::test]
async fn a_neighbour_that_ends_gets_nothing_more() {
    let diary = Diary::default();
    let neighbour = started(&diary, None);
    settle().await;
    hand(&neighbour, What::End).expect("it lived");
    hand(&neighbour, What::Note(1)).expect("its letterbox is there");
    settle().await;
    assert_eq!(diary.take(), [""; 0]);
    assert_eq!(neighbour.post(Letter(What::Note(2))), Err(Gone));
    assert_eq!(Rc::strong_count(&diary.0), 1, "it was dropped");
}

#[actix::test]
async fn a_neighbour_of_another_thread_gets_it_by_post() {
    let arbiter = actix_rt::Arbiter::new();
    let (sender, receiver) = tokio::sync::oneshot::channel();
    arbiter.spawn_fn(move || {
        let neighbour = started(&Diary::default(), None);
        drop(sender.send(neighbour));
    });
    let neighbour = receiver.await.expect("it starts");
    hand(&neighbour, What::End).expect("it lives");
    while neighbour.connected() {
        yield_now().await;
    }
}

#[actix::test]
async fn no_work_is_done_after_a_message_that_left_none() {
    let diary = Diary::default();
    let neighbour = started(&diary, None);
    settle().await;
    hand(&neighbour, What::EndLater).expect("it lives");
    hand(&neighbour, What::Note(1)).expect("it lives on until it works");
    assert_eq!(diary.take(), ["got 1"]);
    settle().await;
    assert!(hand(&neighbour, What::Note(2)).is_err());

    // In the turn of its own task an actor works whatever was in the mail.
    let neighbour = started(&diary, None);
    neighbour.post(Letter(What::EndLater)).expect("it lives");
    settle().await;
    assert!(hand(&neighbour, What::Note(3)).is_err());
    assert_eq!(diary.take(), [""; 0]);
}
