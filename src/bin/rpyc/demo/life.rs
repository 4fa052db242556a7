//! Which actors start and stop, heard from the log that the actors write about themselves.

use std::{fmt::Debug, time::Instant};

use parking_lot::Mutex;
use rpyc::event::LIFE;
use tracing::{
    Event, Subscriber,
    field::{Field, Visit},
    level_filters::LevelFilter,
};
use tracing_subscriber::{Layer, filter::Targets, layer::Context, registry::LookupSpan};

/// What an actor said about itself.
#[derive(Clone, Debug)]
pub(crate) struct Fact {
    pub(crate) at: Instant,
    /// The type of the actor, without the paths of its modules.
    pub(crate) actor: String,
    /// The endpoint of its connection.
    pub(crate) endpoint: String,
    /// Whether it started; else it stopped.
    pub(crate) has_started: bool,
}

static FACTS: Mutex<Vec<Fact>> = Mutex::new(Vec::new());

/// A part of the log's subscriber that keeps the facts for [`facts`].
pub(crate) fn recorder<S>() -> impl Layer<S>
where
    S: Subscriber + for<'a> LookupSpan<'a>,
{
    Recorder.with_filter(Targets::new().with_target(LIFE, LevelFilter::DEBUG))
}

/// The facts so far, for the connections whose endpoint `is_wanted`.
pub(crate) fn facts(is_wanted: impl Fn(&str) -> bool) -> Vec<Fact> {
    let facts = FACTS.lock();
    facts
        .iter()
        .filter(|fact| is_wanted(&fact.endpoint))
        .cloned()
        .collect()
}

struct Recorder;

impl<S: Subscriber> Layer<S> for Recorder {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        let mut fact = Fact {
            at: Instant::now(),
            actor: String::new(),
            endpoint: String::new(),
            has_started: false,
        };
        event.record(&mut fact);
        FACTS.lock().push(fact);
    }
}

impl Visit for Fact {
    fn record_str(&mut self, field: &Field, value: &str) {
        match field.name() {
            "actor" => self.actor = without_paths(value),
            "endpoint" => self.endpoint = value.into(),
            _ => {}
        }
    }

    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        if field.name() == "message" {
            self.has_started = format!("{value:?}") == "started";
        }
    }
}

/// `a::Layer<b::Framing>` is `Layer<Framing>`.
fn without_paths(name: &str) -> String {
    let mut short = String::new();
    for part in name.split_inclusive(['<', '>', ',', ' ']) {
        short.push_str(part.rsplit("::").next().unwrap_or(part));
    }
    short
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_lose_their_paths() {
        assert_eq!(without_paths("a::b::Layer<c::Framing>"), "Layer<Framing>");
        assert_eq!(
            without_paths("ByteStream<x::Halves<y::In, z::Out>>"),
            "ByteStream<Halves<In, Out>>"
        );
        assert_eq!(without_paths("Head"), "Head");
    }
}
