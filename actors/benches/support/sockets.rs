//! Plain sockets for the peers.

use std::net::{TcpListener, TcpStream as Socket};

/// Two connected sockets with TCP_NODELAY.
pub(crate) fn sockets() -> (Socket, Socket) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = listener.local_addr().expect("it is bound");
    let near = Socket::connect(address).expect("it listens");
    let (far, _) = listener.accept().expect("it was connected to");
    for socket in [&near, &far] {
        socket.set_nodelay(true).expect("TCP knows it");
        socket.set_nonblocking(true).expect("a socket can");
    }
    (near, far)
}
