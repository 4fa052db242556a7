//! A recorder for the `metrics` facade, to read what was told.

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
};

use metrics::{
    Counter, Gauge, Histogram, HistogramFn, Key, KeyName, Metadata, Recorder, SharedString, Unit,
};

/// Counters and gauges by name and labels; of histograms the number of values.
#[derive(Clone, Default)]
pub(crate) struct Registry(Arc<Mutex<HashMap<String, Arc<AtomicU64>>>>);

impl Registry {
    fn cell(&self, key: &Key) -> Arc<AtomicU64> {
        let labels: String = key
            .labels()
            .map(|label| format!(" {}={}", label.key(), label.value()))
            .collect();
        let name = format!("{}{labels}", key.name());
        self.0
            .lock()
            .expect("no panic")
            .entry(name)
            .or_default()
            .clone()
    }

    pub(crate) fn value(&self, name: &str) -> u64 {
        let cells = self.0.lock().expect("no panic");
        let cell = cells
            .get(name)
            .unwrap_or_else(|| panic!("no {name} in {:?}", cells.keys()));
        cell.load(Relaxed)
    }
}

struct Values(Arc<AtomicU64>);

impl HistogramFn for Values {
    fn record(&self, _: f64) {
        self.0.fetch_add(1, Relaxed);
    }
}

impl Recorder for Registry {
    fn describe_counter(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}
    fn describe_gauge(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}
    fn describe_histogram(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}

    fn register_counter(&self, key: &Key, _: &Metadata<'_>) -> Counter {
        Counter::from_arc(self.cell(key))
    }

    fn register_gauge(&self, key: &Key, _: &Metadata<'_>) -> Gauge {
        Gauge::from_arc(self.cell(key))
    }

    fn register_histogram(&self, key: &Key, _: &Metadata<'_>) -> Histogram {
        Histogram::from_arc(Arc::new(Values(self.cell(key))))
    }
}
