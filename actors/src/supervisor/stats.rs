//! What a supervisor counts.

/// Counts of one supervised connection since it began.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct SupervisorStats {
    /// The number of the last connection that came up, counted from 1.
    pub generation: u64,
    /// True while it is up.
    pub connected: bool,
    /// Attempts to connect.
    pub attempts: u64,
    /// Connections lost.
    pub losses: u64,
    /// How often it was taken for broken.
    pub broken: u64,
}

impl<A, M> actix::dev::MessageResponse<A, M> for SupervisorStats
where
    A: actix::Actor,
    M: actix::Message<Result = Self>,
{
    fn handle(self, _: &mut A::Context, answer: Option<actix::dev::OneshotSender<Self>>) {
        if let Some(answer) = answer {
            // Whoever asked may have gone.
            let _ = answer.send(self);
        }
    }
}
