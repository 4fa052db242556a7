//! How much of the machine other processes took, on Linux.

use std::fs;

/// Processor time so far, in ticks.
#[derive(Clone, Copy)]
struct Ticks {
    all: f64,
    /// In user space of any process, or taken by the host of a virtual machine.
    user: f64,
    /// In user space of this process and of its children, whether they live or were waited for.
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
        Some(Self {
            all: fields.iter().take(8).sum(),
            user: fields.first()? + fields.get(1)? + fields.get(7)?,
            own: user_of("self")? + children().filter_map(|child| user_of(&child)).sum::<f64>(),
        })
    }
}

/// Ticks in user space of a process and of the children that it waited for.
fn user_of(process: &str) -> Option<f64> {
    // proc_pid_stat(5): behind the name come the state and, as the 14th and the 16th field of all, utime and cutime.
    let text = fs::read_to_string(format!("/proc/{process}/stat")).ok()?;
    let fields = numbers(text.rsplit_once(") ")?.1.get(1..)?);
    Some(fields.get(10)? + fields.get(12)?)
}

/// The processes that this one started and that still live.
fn children() -> impl Iterator<Item = String> {
    let threads = fs::read_dir("/proc/self/task").into_iter().flatten();
    // proc_tid_children(5); a kernel may be built without it.
    let lists = threads
        .flatten()
        .filter_map(|thread| fs::read_to_string(thread.path().join("children")).ok());
    lists.flat_map(|list| {
        list.split_whitespace()
            .map(str::to_owned)
            .collect::<Vec<_>>()
    })
}

fn numbers(text: &str) -> Vec<f64> {
    text.split_whitespace()
        .filter_map(|field| field.parse().ok())
        .collect()
}
