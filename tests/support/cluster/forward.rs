//! Connections from one network into another: the cluster's are its own, and no address of theirs is the machine's.

use std::fs::File;
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::os::fd::AsFd;
use std::path::Path;
use std::sync::mpsc;

use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

/// The network that a thread stands in; the threads that it starts begin there too.
pub(crate) struct Network(File);

impl Network {
    /// The one that a file of `/proc` or of `ip netns` stands for.
    pub(crate) fn at(path: &Path) -> Self {
        Network(File::open(path).unwrap_or_else(|error| panic!("{}: {error}", path.display())))
    }

    /// The one that the test began in.
    pub(crate) fn of_the_machine() -> Self {
        Self::at(Path::new(&format!("/proc/{}/ns/net", std::process::id())))
    }

    /// Moves this thread, and no other, into it.
    pub(crate) fn enter(&self) {
        move_into_link_name_space(self.0.as_fd(), Some(LinkNameSpaceType::Network)).expect("root may enter a network");
    }
}

/// Listens on `listen` in the network `from`, until the test ends, and takes each connection on to `target` in the
/// network `to`. The address that it listens on: the port is chosen where `listen` has none.
pub(crate) fn forward(from: Network, listen: SocketAddr, to: Network, target: SocketAddr) -> SocketAddr {
    let (tell, told) = mpsc::channel();
    std::thread::spawn(move || {
        from.enter();
        // A socket stays in the network that it was made in.
        let listener = TcpListener::bind(listen).unwrap_or_else(|error| panic!("{listen}: {error}"));
        to.enter();
        tell.send(listener.local_addr().expect("it is bound")).expect("someone waits");
        for client in listener.incoming().flatten() {
            std::thread::spawn(move || join(client, target));
        }
    });
    told.recv().expect("the address is to be had")
}

/// Both ways until both have ended. Whom nobody answers is hung up on, as a closed port would.
fn join(client: TcpStream, target: SocketAddr) {
    let Ok(server) = TcpStream::connect(target) else { return };
    let _ = (client.set_nodelay(true), server.set_nodelay(true));
    let (Ok(from), Ok(to)) = (client.try_clone(), server.try_clone()) else { return };
    let answers = std::thread::spawn(move || pour(to, from));
    pour(client, server);
    let _ = answers.join();
}

fn pour(mut from: TcpStream, mut to: TcpStream) {
    if std::io::copy(&mut from, &mut to).is_err() {
        let _ = from.shutdown(Shutdown::Both);
    }
    let _ = to.shutdown(Shutdown::Write);
}
