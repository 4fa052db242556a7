//! The two doors to a channel, and where it may be used from: actors with messages, handles on any runtime or thread.

mod actors;
mod arbiters;
mod runtimes;
#[path = "../support/mod.rs"]
mod support;

use std::{
    sync::{Arc, Mutex, mpsc as std_mpsc},
    time::Duration,
};

use actix::prelude::*;
use actix_rt::ArbiterHandle;
use bytes::Bytes;
use rpyc_actors::{
    Channel, ConnectionEvent, Frames, Runtime, SocketStream, StreamError,
    channel::{Close, Subscribe},
    message::{Finish, Flush, Read, Write},
};
use support::{PATIENCE, channel_and_peer, frame, pair, stream_and_peer, until, within};
use tokio::{io::AsyncReadExt, sync::mpsc};
