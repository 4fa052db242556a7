//! How much of the machine other processes took, on Linux.

use std::fs;

/// Processor time so far, in ticks.
#[derive(Clone, Copy)]
struct Ticks {
    all: f64,
    /// In user space of any process, or taken by the host of a virtual machine.
    user: f64,
    /// In user space of this process and of children that it waited for.
    own: f64,
}

/// Looks at the processors while something runs.
pub(crate) struct Watch(Option<Ticks>);

impl Watch {
    pub(crate) fn start() -> Self {
        Self(Ticks::now())
    }

    /// The share of all processors that others took since the start; 0 where nothing can be known.
    ///
    /// Only user space counts: the kernel's work for our own sockets is nobody's on its books.
    pub(crate) fn others(&self) -> f64 {
        let (Some(before), Some(now)) = (self.0, Ticks::now()) else {
            return 0.0;
        };
        let others = (now.user - before.user) - (now.own - before.own);
        (others / (now.all - before.all).max(1.0)).max(0.0)
    }
}

impl Ticks {
    fn now() -> Option<Self> {
        // proc_stat(5): "cpu user nice system idle iowait irq softirq steal …".
        let text = fs::read_to_string("/proc/stat").ok()?;
        let fields = numbers(text.lines().next()?.strip_prefix("cpu")?);
        // proc_pid_stat(5): behind the name come the state and, as the 14th and the 16th field of all, utime and cutime.
        let text = fs::read_to_string("/proc/self/stat").ok()?;
        let own = numbers(text.rsplit_once(") ")?.1.get(1..)?);
        Some(Self {
            all: fields.iter().take(8).sum(),
            user: fields.first()? + fields.get(1)? + fields.get(7)?,
            own: own.get(10)? + own.get(12)?,
        })
    }
}

fn numbers(text: &str) -> Vec<f64> {
    text.split_whitespace()
        .filter_map(|field| field.parse().ok())
        .collect()
}
