//! The table for people.

use super::rounds::{Comparison, Metric};

/// Prints the names of the columns.
pub(crate) fn head() {
    println!(
        "{:<21} {:<29} {:<26} {:>14} {:>14}  {:>6} {:>15} {:>7}  required",
        "row", "ours", "peer", "ours", "peer", "ratio", "min - max", "others"
    );
}

/// Prints one line.
pub(crate) fn line(comparison: &Comparison) {
    let Comparison {
        row,
        size,
        metric,
        ours_name,
        peer_name,
        ours,
        peer,
        ratio,
        floor,
        others,
    } = comparison;
    let (name, required) = match metric {
        Metric::Rate => (row.clone(), floor.map(|floor| format!(">= {floor}"))),
        Metric::P50 => (
            format!("{row} p50"),
            floor.map(|floor| format!("<= {floor}")),
        ),
        Metric::P99 => (
            format!("{row} p99"),
            floor.map(|floor| format!("<= {floor}")),
        ),
    };
    let verdict = if comparison.is_met() { "" } else { " MISSED" };
    println!(
        "{name:<21} {ours_name:<29} {peer_name:<26} {:>14} {:>14}  {:>6.2} {:>15} {:>6.0}%  {}{verdict}",
        quantity(*metric, ours.median, *size),
        quantity(*metric, peer.median, *size),
        ratio.median,
        format!("{:.2} - {:.2}", ratio.min, ratio.max),
        others * 100.0,
        required.unwrap_or_default(),
    );
}

/// Frames in millions for small ones, bytes for large ones, microseconds for times.
fn quantity(metric: Metric, value: f64, size: usize) -> String {
    match metric {
        Metric::Rate if size >= 1024 => match value * size as f64 {
            bytes if bytes < 1e9 => format!("{:.0} MB/s", bytes / 1e6),
            bytes => format!("{:.2} GB/s", bytes / 1e9),
        },
        Metric::Rate if value < 1e6 => format!("{:.0} k/s", value / 1e3),
        Metric::Rate => format!("{:.2} M/s", value / 1e6),
        Metric::P50 | Metric::P99 => format!("{:.2} us", value / 1e3),
    }
}
