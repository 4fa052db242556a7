//! What was measured, as one table of at most 80 columns.

use super::{
    layered,
    measure::{Calls, Frames},
    paint::Paint,
};
use crate::output;

/// The measurements over one kind of stream.
#[derive(Debug)]
pub(crate) struct Row {
    pub(crate) stream: &'static str,
    pub(crate) calls: Calls,
    pub(crate) frames: Vec<Frames>,
}

/// Columns of a full bar.
const BAR: usize = 14;

pub(crate) fn lines(rows: &[Row], paint: Paint) -> Vec<String> {
    let most_calls = most(rows.iter().map(|row| row.calls.per_second));
    let most_bytes = most(rows.iter().flat_map(|row| &row.frames).map(megabytes));
    let head = format!(
        " {:<12} {:<13} {:>10} {:>8} {:>8} {:>7}",
        "stream", "what", "per second", "p50", "p99", "MB/s"
    );
    let mut lines = vec![paint.dim(&head)];
    for row in rows {
        let rule = "─".repeat(62 + 2 + BAR);
        lines.push(paint.dim(&format!(" {rule}")));
        let calls = &row.calls;
        lines.push(format!(
            " {} {:<13} {:>10} {:>8} {:>8} {:>7}  {}",
            paint.bold(&format!("{:<12}", row.stream)),
            "calls",
            output::count(calls.per_second),
            output::time(calls.p50),
            output::time(calls.p99),
            "",
            paint.cyan(&bar(calls.per_second / most_calls, BAR)),
        ));
        for frames in &row.frames {
            lines.push(format!(
                " {:<12} {:<13} {:>10} {:>8} {:>8} {:>7}  {}",
                "",
                format!("{} frames", size(frames.size)),
                output::count(frames.per_second),
                "",
                "",
                output::count(megabytes(frames)),
                paint.green(&bar(megabytes(frames) / most_bytes, BAR)),
            ));
        }
    }
    lines.push(String::new());
    lines.push(paint.dim(" calls   add(1, 2), one after the other; bars by calls a second"));
    lines.push(paint.dim(" frames  sent one by one, counted at the other end; bars by MB/s"));
    lines
}

/// Columns of a bar beside the layers.
const SHORT_BAR: usize = 7;

pub(crate) fn layer_lines(rows: &[layered::Row], paint: Paint) -> Vec<String> {
    let most_bytes = most(rows.iter().map(|row| megabytes(&row.large)));
    let head = format!(
        " {:<13} {:<26} {:>10} {:>6} {:>5} {:>5}",
        "layer", "what it does", "64 B /s", "MB/s", "wire", "same"
    );
    let rule = "─".repeat(70 + 2 + SHORT_BAR);
    let mut lines = vec![paint.dim(&head), paint.dim(&format!(" {rule}"))];
    for row in rows {
        let travelled = row.travelled.map(|share| format!("{:.0}%", share * 100.0));
        lines.push(format!(
            " {} {:<26} {:>10} {:>6} {:>5} {:>5}  {}",
            paint.bold(&format!("{:<13}", row.layer)),
            row.what,
            output::count(row.small.per_second),
            output::count(megabytes(&row.large)),
            travelled.unwrap_or_default(),
            row.same,
            paint.green(&bar(megabytes(&row.large) / most_bytes, SHORT_BAR)),
        ));
    }
    lines.push(String::new());
    for note in [
        " 64 B /s  small frames a second   MB/s  in frames of 64 KiB; bars by that",
        " wire     what travels of them    same  frames of 0 B to 64 KiB, of 32 sent,",
        "                                        that came back just as they were",
    ] {
        lines.push(paint.dim(note));
    }
    lines
}

fn most(numbers: impl Iterator<Item = f64>) -> f64 {
    numbers.fold(f64::MIN_POSITIVE, f64::max)
}

/// Millions of payload bytes a second.
fn megabytes(frames: &Frames) -> f64 {
    frames.per_second * frames.size as f64 / 1e6
}

fn size(bytes: usize) -> String {
    match bytes {
        ..1024 => format!("{bytes} B"),
        1024..1_048_576 => format!("{} KiB", bytes >> 10),
        _ => format!("{} MiB", bytes >> 20),
    }
}

/// A bar in eighths of a column; something that is there is never shown as nothing.
fn bar(share: f64, width: usize) -> String {
    const EIGHTHS: [&str; 8] = ["", "▏", "▎", "▍", "▌", "▋", "▊", "▉"];
    let eighths = ((share * (width * 8) as f64).round() as usize).clamp(1, width * 8);
    format!("{}{}", "█".repeat(eighths / 8), EIGHTHS[eighths % 8])
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn bars_grow_by_eighths() {
        assert_eq!(bar(0.0, 8), "▏");
        assert_eq!(bar(1.0, 8), "█".repeat(8));
        assert_eq!(bar(0.5, 8), "█".repeat(4));
        assert_eq!(bar(1.5 / 8.0, 8), "█▌");
    }

    #[test]
    fn the_table_fits_80_columns() {
        let calls = || Calls {
            per_second: 1_234_567.0,
            p50: Duration::from_micros(123),
            p99: Duration::from_micros(9_999),
        };
        let frames = || {
            vec![
                Frames {
                    size: 64 << 10,
                    per_second: 123_456.0,
                },
                Frames {
                    size: 64,
                    per_second: 98_765_432.0,
                },
            ]
        };
        let rows = ["TCP", "unix socket"].map(|stream| Row {
            stream,
            calls: calls(),
            frames: frames(),
        });
        let layers = ["batch:20,50ms", "TLS"].map(|layer| layered::Row {
            layer,
            what: "small writes become large",
            small: frames().remove(1),
            large: frames().remove(0),
            travelled: Some(1.002),
            same: 32,
        });
        let paint = Paint::plain();
        let lines = lines(&rows, paint)
            .into_iter()
            .chain(layer_lines(&layers, paint));
        for line in lines {
            assert!(line.chars().count() <= 80, "{line}");
        }
    }
}
