//! The result for machines.

use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use super::{
    options::Options,
    rounds::{Comparison, Spread},
};

/// The directory for results and for what benchmarks build, below cargo's target directory.
pub(crate) fn directory() -> PathBuf {
    let target = Path::new(env!("CARGO_TARGET_TMPDIR"))
        .parent()
        .expect("it is inside the target directory");
    let directory = target.join("bench");
    std::fs::create_dir_all(&directory).expect("the target directory can be written to");
    directory
}

/// Writes all lines, and what they were measured with. Gives the file.
pub(crate) fn write(file: &str, options: &Options, comparisons: &[Comparison]) -> PathBuf {
    let path = directory().join(file);
    let result = json!({
        "rounds": options.rounds,
        "seconds_per_cell": options.time.as_secs_f64(),
        "processors": std::thread::available_parallelism().map_or(0, usize::from),
        "glibc_tunables": std::env::var("GLIBC_TUNABLES").ok(),
        "rows": comparisons.iter().map(line).collect::<Vec<_>>(),
    });
    std::fs::write(&path, format!("{result:#}\n")).expect("the result can be written");
    path
}

fn line(comparison: &Comparison) -> Value {
    json!({
        "row": comparison.row,
        "frame_bytes": comparison.size,
        "metric": comparison.metric.name(),
        "ours": { "what": comparison.ours_name, "value": spread(comparison.ours) },
        "peer": { "what": comparison.peer_name, "value": spread(comparison.peer) },
        "ratio": spread(comparison.ratio),
        "required": comparison.floor,
        "is_met": comparison.is_met(),
        "others": comparison.others,
    })
}

fn spread(spread: Spread) -> Value {
    json!({ "median": spread.median, "min": spread.min, "max": spread.max })
}
