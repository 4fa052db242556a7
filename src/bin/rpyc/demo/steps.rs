//! One call step by step: which actors start, which bytes pass, and how it all ends.

use std::time::{Duration, Instant};

use rpyc::{Chain, Connection, Endpoint, Layers, Runtime, VoidService};

use super::{
    anatomy,
    life::{self, Fact},
    paint::Paint,
    tap::{Passed, Tap, Tape},
};
use crate::{Failure, output};

/// Bytes of a frame that stand on one line.
const BYTES_A_LINE: usize = 8;
/// How long the actors may take to stop.
const STOP_WITHIN: Duration = Duration::from_secs(2);

pub(crate) async fn show(service: &Endpoint, near: &Runtime, paint: Paint) -> Result<(), Failure> {
    let tape = Tape::default();
    let for_layer = tape.clone();
    let layers = Layers::new().bytes(move || Tap::new(for_layer.clone()));
    let chain = Chain::new(service.clone())
        .layers(layers)
        .runtime(near.clone());

    let start = Instant::now();
    let channel = chain.connect().await?;
    let local = channel
        .local_address()
        .map(ToString::to_string)
        .unwrap_or_default();
    let connection = Connection::new(channel, VoidService);
    connection.root().await?;
    let call_at = Instant::now();
    let opening = tape.take();
    let sum: i64 = connection.call("add", (1, 2)).await?;
    let returned_at = Instant::now();
    let call = tape.take();
    let close_at = Instant::now();
    connection.close().await;
    let closed_at = Instant::now();
    drop(connection);

    // The server knows this connection by the address of our end.
    let far_name = format!("tcp://{local}");
    let near_name = service.to_string();
    let near_facts = || life::facts(|endpoint| endpoint == near_name);
    let far_facts = || life::facts(|endpoint| endpoint == far_name);
    while near_facts().len() + far_facts().len()
        < 2 * started(&near_facts()).len() + 2 * started(&far_facts()).len()
        && closed_at.elapsed() < STOP_WITHIN
    {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    let (near_facts, far_facts) = (near_facts(), far_facts());
    let closing = tape.take();

    paint.heading(
        "One call, step by step",
        &format!("add(1, 2) over TCP to {service}"),
    )?;
    step(
        paint,
        1,
        "Connect.",
        &format!(
            "{} actors start on a thread of the client:",
            started(&near_facts).len()
        ),
    )?;
    for fact in started(&near_facts) {
        actor(paint, start, fact)?;
    }
    let far: Vec<&str> = started(&far_facts)
        .iter()
        .map(|fact| fact.actor.as_str())
        .collect();
    output::line(format!(
        "      {}",
        paint.dim(&format!("and on the server: {}", far.join(", ")))
    ))?;

    output::line("")?;
    step(paint, 2, "Ask for the root,", "once for each connection:")?;
    for passed in &opening {
        for frame in anatomy::frames(&passed.bytes) {
            let bytes: usize = frame.iter().map(|part| part.bytes.len()).sum();
            let meaning = frame
                .iter()
                .find(|part| part.name == "handler")
                .or_else(|| frame.iter().find(|part| part.name == "box"));
            let meaning = meaning.map_or("", |part| part.meaning.as_str());
            output::line(format!(
                "      {}  {bytes} bytes: {meaning}",
                arrow(paint, start, passed)
            ))?;
        }
    }

    output::line("")?;
    step(
        paint,
        3,
        "Call.",
        "The request goes down through the actors, the reply comes up:",
    )?;
    for passed in &call {
        whole(paint, call_at, passed)?;
    }
    output::line(format!(
        "      {}  {} {}",
        clock(paint, returned_at - call_at),
        paint.bold(&format!("add(1, 2) = {sum}")),
        paint.dim("has reached the caller, who is on a third thread"),
    ))?;

    output::line("")?;
    step(
        paint,
        4,
        "Close.",
        "The peer is told, each direction ends, the actors stop:",
    )?;
    for passed in &closing {
        for frame in anatomy::frames(&passed.bytes) {
            let bytes: usize = frame.iter().map(|part| part.bytes.len()).sum();
            let meaning = frame
                .iter()
                .find(|part| part.name == "handler")
                .map_or("", |part| part.meaning.as_str());
            output::line(format!(
                "      {}  {bytes} bytes: {meaning}",
                arrow(paint, close_at, passed)
            ))?;
        }
    }
    let stopped: Vec<&Fact> = near_facts
        .iter()
        .chain(&far_facts)
        .filter(|fact| !fact.has_started)
        .collect();
    let last = stopped
        .iter()
        .map(|fact| fact.at)
        .max()
        .unwrap_or(closed_at);
    let count = started(&near_facts).len() + started(&far_facts).len();
    output::line(format!(
        "      {}  {} of {count} actors have stopped",
        clock(paint, last.saturating_duration_since(close_at)),
        stopped.len(),
    ))?;
    Ok(())
}

fn started(facts: &[Fact]) -> Vec<&Fact> {
    facts.iter().filter(|fact| fact.has_started).collect()
}

fn step(paint: Paint, number: u32, title: &str, more: &str) -> Result<(), Failure> {
    output::line(format!(
        "   {} {} {more}",
        paint.yellow(&number.to_string()),
        paint.bold(title)
    ))?;
    Ok(())
}

fn clock(paint: Paint, time: Duration) -> String {
    paint.dim(&format!("{:>7}", output::time(time)))
}

fn actor(paint: Paint, start: Instant, fact: &Fact) -> Result<(), Failure> {
    let what = match fact.actor.split('<').next() {
        Some("ByteStream") => "owns the socket; only it reads and writes",
        Some("Layer") if fact.actor.contains("Tap") => "the demo's own: copies the bytes that pass",
        Some("Head") => "the channel: outbox, framing, inbox",
        Some("Serving") => "matches replies, serves requests",
        _ => "",
    };
    let at = clock(paint, fact.at.saturating_duration_since(start));
    output::line(format!(
        "      {at}  {:<22} {}",
        fact.actor,
        paint.dim(what)
    ))?;
    Ok(())
}

fn arrow(paint: Paint, start: Instant, passed: &Passed) -> String {
    let at = clock(paint, passed.at.saturating_duration_since(start));
    let arrow = if passed.is_down {
        paint.cyan("▼")
    } else {
        paint.green("▲")
    };
    format!("{at}  {arrow}")
}

/// Every byte of what passed.
fn whole(paint: Paint, start: Instant, passed: &Passed) -> Result<(), Failure> {
    for frame in anatomy::frames(&passed.bytes) {
        let bytes: usize = frame.iter().map(|part| part.bytes.len()).sum();
        let what = if passed.is_down { "request" } else { "reply" };
        output::line(format!(
            "      {}  {} of {bytes} bytes",
            arrow(paint, start, passed),
            paint.bold(what)
        ))?;
        for part in frame {
            let mut name = part.name;
            let mut meaning = part.meaning.as_str();
            for line in part.bytes.chunks(BYTES_A_LINE) {
                let hex: Vec<String> = line.iter().map(|byte| format!("{byte:02x}")).collect();
                let hex = format!("{:<width$}", hex.join(" "), width = BYTES_A_LINE * 3 - 1);
                let hex = if passed.is_down {
                    paint.cyan(&hex)
                } else {
                    paint.green(&hex)
                };
                output::line(
                    format!("        {hex}  {name:<8} {}", paint.dim(meaning)).trim_end(),
                )?;
                (name, meaning) = ("", "");
            }
        }
    }
    Ok(())
}
