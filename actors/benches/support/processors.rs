//! Which thread runs on which processor, where that is not left to the scheduler.

/// The processors of a question: of who asks, of the connection's own thread, and of who answers.
#[derive(Clone, Copy)]
pub(crate) struct Processors([usize; 3]);

/// A thread of a question.
#[derive(Clone, Copy)]
pub(crate) enum Role {
    Asker,
    Connection,
    Answerer,
}

impl Processors {
    /// Who asks shares a processor with its connection.
    pub(crate) const BESIDE: Self = Self([0, 0, 1]);
    /// Who asks has a processor for itself.
    pub(crate) const ASKER_APART: Self = Self([1, 0, 0]);
    /// The connection has a processor for itself.
    pub(crate) const CONNECTION_APART: Self = Self([0, 1, 0]);
    /// All share one.
    pub(crate) const ONE: Self = Self([0, 0, 0]);

    /// Binds the calling thread to where its role belongs, until what this gives is dropped there.
    #[must_use = "the thread is bound as long as this lives"]
    pub(crate) fn bind(self, role: Role) -> Bound {
        Bound::to(self.0[role as usize])
    }
}

#[cfg(target_os = "linux")]
mod affinity {
    use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};

    /// A thread that stays on one processor.
    pub(crate) struct Bound {
        before: CpuSet,
    }

    impl Bound {
        pub(super) fn to(processor: usize) -> Self {
            let before = sched_getaffinity(None).expect("every thread runs somewhere");
            let mut set = CpuSet::new();
            set.set(processor);
            sched_setaffinity(None, &set).expect("there are two processors");
            Self { before }
        }
    }

    impl Drop for Bound {
        fn drop(&mut self) {
            sched_setaffinity(None, &self.before).expect("it ran there before");
        }
    }
}

#[cfg(not(target_os = "linux"))]
mod affinity {
    /// Elsewhere the scheduler decides.
    pub(crate) struct Bound;

    impl Bound {
        pub(super) fn to(_: usize) -> Self {
            Self
        }
    }
}

pub(crate) use affinity::Bound;
