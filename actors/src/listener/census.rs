//! Who is connected, in all and from each address.

use std::{collections::HashMap, net::IpAddr, sync::Arc};

use parking_lot::Mutex;

/// Counts connections that are alive.
pub(crate) struct Census {
    max: usize,
    max_per_address: usize,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    all: usize,
    by_address: HashMap<IpAddr, usize>,
}

/// A connection's place in the census; dropping it makes room.
pub(crate) struct Place {
    census: Arc<Census>,
    address: Option<IpAddr>,
}

impl Census {
    pub(crate) fn new(max: usize, max_per_address: usize) -> Arc<Self> {
        Arc::new(Self {
            max,
            max_per_address,
            state: Mutex::default(),
        })
    }

    pub(crate) fn alive(&self) -> usize {
        self.state.lock().all
    }

    /// A place for a connection from `address`, unless there are too many.
    pub(crate) fn admit(self: &Arc<Self>, address: Option<IpAddr>) -> Option<Place> {
        let counted = address.filter(|address| !address.is_loopback());
        let mut state = self.state.lock();
        if state.all >= self.max {
            return None;
        }
        if let Some(address) = counted {
            let count = state.by_address.entry(address).or_default();
            if *count >= self.max_per_address {
                return None;
            }
            *count += 1;
        }
        state.all += 1;
        Some(Place {
            census: self.clone(),
            address: counted,
        })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut state = self.census.state.lock();
        state.all -= 1;
        if let Some(address) = self.address
            && let Some(count) = state.by_address.get_mut(&address)
        {
            *count -= 1;
            if *count == 0 {
                state.by_address.remove(&address);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_hold_in_all_and_for_each_address() {
        let census = Census::new(3, 1);
        let remote = Some(IpAddr::from([192, 0, 2, 1]));
        let first = census.admit(remote);
        assert!(first.is_some());
        assert!(census.admit(remote).is_none());
        let local: Vec<_> = (0..2)
            .map(|_| census.admit(Some(IpAddr::from([127, 0, 0, 1]))))
            .collect();
        assert!(local.iter().all(Option::is_some));
        assert!(census.admit(None).is_none());
        drop(first);
        assert_eq!(census.alive(), 2);
        assert!(census.admit(remote).is_some());
    }
}
