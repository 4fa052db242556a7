//! Evidence for sessions, without sockets: vectors, hostile peers, and a simulation with a virtual clock.

mod end;
mod hostile;
mod sim;
mod vectors;
mod world;
