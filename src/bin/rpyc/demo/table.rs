//! What was measured, as one table of at most 80 columns.

use super::{
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
            paint.cyan(&bar(calls.per_second / most_calls)),
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
                paint.green(&bar(megabytes(frames) / most_bytes)),
            ));
        }
    }
    lines.push(String::new());
    lines.push(paint.dim(" calls   add(1, 2), one after the other; bars by calls a second"));
    lines.push(paint.dim(" frames  sent one by one, counted at the other end; bars by MB/s"));
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
fn bar(share: f64) -> String {
    const EIGHTHS: [&str; 8] = ["", "▏", "▎", "▍", "▌", "▋", "▊", "▉"];
    let eighths = ((share * (BAR * 8) as f64).round() as usize).clamp(1, BAR * 8);
    format!("{}{}", "█".repeat(eighths / 8), EIGHTHS[eighths % 8])
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn bars_grow_by_eighths() {
        assert_eq!(bar(0.0), "▏");
        assert_eq!(bar(1.0), "█".repeat(BAR));
        assert_eq!(bar(0.5), "█".repeat(BAR / 2));
        assert_eq!(bar(1.5 / BAR as f64), "█▌");
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
        let paint = Paint::plain();
        for line in lines(&rows, paint) {
            assert!(line.chars().count() <= 80, "{line}");
        }
    }
}
