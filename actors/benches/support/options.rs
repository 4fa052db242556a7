//! The command line.

use std::time::Duration;

/// What was asked for.
pub(crate) struct Options {
    pub(crate) rounds: usize,
    pub(crate) time: Duration,
    pub(crate) list: bool,
    filters: Vec<String>,
}

const USAGE: &str = "usage: cargo bench --bench NAME -- [--quick] [--rounds N] [--list] [ROW]...
A ROW is a name or the start of one up to a slash, as in `--list`.";

impl Options {
    /// Reads the arguments of the process; ends it when they make no sense.
    pub(crate) fn read() -> Self {
        let mut options = Self {
            rounds: 5,
            time: Duration::from_secs(1),
            list: false,
            filters: Vec::new(),
        };
        let mut arguments = std::env::args().skip(1);
        while let Some(argument) = arguments.next() {
            match argument.as_str() {
                // Cargo passes it to every benchmark.
                "--bench" => {}
                "--list" => options.list = true,
                "--quick" => {
                    options.rounds = 3;
                    options.time = Duration::from_millis(200);
                }
                "--rounds" => {
                    let count = arguments.next().and_then(|count| count.parse().ok());
                    options.rounds = count.filter(|count| *count > 0).unwrap_or_else(|| fail());
                }
                filter if !filter.starts_with('-') => options.filters.push(filter.to_owned()),
                _ => fail(),
            }
        }
        options
    }

    /// True when this row was asked for.
    pub(crate) fn wants(&self, row: &str) -> bool {
        let matches = |filter: &String| {
            row.strip_prefix(filter.trim_end_matches('/'))
                .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
        };
        self.filters.is_empty() || self.filters.iter().any(matches)
    }
}

fn fail() -> ! {
    eprintln!("{USAGE}");
    std::process::exit(2)
}
