//! Sockets for asking name servers.
//!
//! Each is connected to its server: where nobody listens there the system says so at once, and
//! the next server is asked, as resolver(3) does it. The library's own would wait until the
//! server's time is over.

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use hickory_resolver::net::runtime::{DnsUdpSocket, RuntimeProvider, TokioRuntimeProvider};
use tokio::io::{Interest, ReadBuf};
use tokio::net::UdpSocket;

/// The library's sockets, connected.
#[derive(Clone, Default)]
pub(super) struct Connected(TokioRuntimeProvider);

/// What will be there.
type Coming<'a, T> = Pin<Box<dyn Send + Future<Output = io::Result<T>> + 'a>>;

impl RuntimeProvider for Connected {
    type Handle = <TokioRuntimeProvider as RuntimeProvider>::Handle;
    type Timer = <TokioRuntimeProvider as RuntimeProvider>::Timer;
    type Udp = ConnectedUdp;
    type Tcp = <TokioRuntimeProvider as RuntimeProvider>::Tcp;

    fn create_handle(&self) -> Self::Handle {
        self.0.create_handle()
    }

    fn connect_tcp(
        &self,
        server: SocketAddr,
        local: Option<SocketAddr>,
        timeout: Option<Duration>,
    ) -> Coming<'static, Self::Tcp> {
        self.0.connect_tcp(server, local, timeout)
    }

    fn bind_udp(&self, local: SocketAddr, server: SocketAddr) -> Coming<'static, Self::Udp> {
        Box::pin(async move {
            let socket = UdpSocket::bind(local).await?;
            socket.connect(server).await?;
            Ok(ConnectedUdp(socket))
        })
    }
}

/// A socket that hears of a server that refuses.
pub(super) struct ConnectedUdp(UdpSocket);

impl ConnectedUdp {
    /// A datagram, or why none will come. A refusal makes a socket neither readable nor
    /// writable, so it is waited for beside both.
    async fn receive(&self, buffer: &mut [u8]) -> io::Result<(usize, SocketAddr)> {
        let not_yet = || io::Error::from(io::ErrorKind::WouldBlock);
        let is_over = |result: &io::Error| result.kind() != io::ErrorKind::WouldBlock;
        loop {
            let ready = self.0.ready(Interest::READABLE | Interest::ERROR).await?;
            if ready.is_error() {
                let refusal = self.0.try_io(Interest::ERROR, || {
                    Err::<(), _>(self.0.take_error()?.unwrap_or_else(not_yet))
                });
                if let Some(refusal) = refusal.err().filter(is_over) {
                    return Err(refusal);
                }
            }
            match self.0.try_recv_from(buffer) {
                Err(error) if !is_over(&error) => {}
                received => return received,
            }
        }
    }
}

impl DnsUdpSocket for ConnectedUdp {
    type Time = <TokioRuntimeProvider as RuntimeProvider>::Timer;

    fn poll_recv_from(
        &self,
        context: &mut Context<'_>,
        buffer: &mut [u8],
    ) -> Poll<io::Result<(usize, SocketAddr)>> {
        let mut buffer = ReadBuf::new(buffer);
        let from = ready!(self.0.poll_recv_from(context, &mut buffer))?;
        Poll::Ready(Ok((buffer.filled().len(), from)))
    }

    fn recv_from<'s, 'b, 'f>(&'s self, buffer: &'b mut [u8]) -> Coming<'f, (usize, SocketAddr)>
    where
        's: 'f,
        'b: 'f,
        Self: 'f,
    {
        Box::pin(self.receive(buffer))
    }

    fn poll_send_to(
        &self,
        context: &mut Context<'_>,
        buffer: &[u8],
        target: SocketAddr,
    ) -> Poll<io::Result<usize>> {
        self.0.poll_send_to(context, buffer, target)
    }
}
