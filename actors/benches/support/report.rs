//! One run of a benchmark, from its rows to the table and the file.

use super::{json, options::Options, rounds::Row, table};

/// Measures the rows and reports them, or lists their names if that is what was asked for.
pub(crate) fn run(rows: Vec<Row>, options: &Options, file: &str) {
    if options.list {
        rows.iter().for_each(|row| println!("{}", row.name));
        return;
    }
    table::head();
    let mut comparisons = Vec::new();
    for row in rows {
        let lines = row.run(options.rounds, options.time);
        lines.iter().for_each(table::line);
        comparisons.extend(lines);
    }
    println!(
        "\nwritten: {}",
        json::write(file, options, &comparisons).display()
    );
}
