//! The UDP sockets that a runtime gives to quinn.

use std::{
    future::poll_fn,
    io::IoSliceMut,
    net::{Ipv4Addr, UdpSocket},
    sync::Arc,
    task::Poll,
};

use quinn::{
    AsyncUdpSocket,
    udp::{BATCH_SIZE, RecvMeta},
};

use crate::on;

/// A socket of the runtime, and one of the system that sends to it.
fn pair() -> (Arc<dyn AsyncUdpSocket>, UdpSocket) {
    let bind = || UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).expect("bound");
    let (to, from) = (bind(), bind());
    from.connect(to.local_addr().expect("an address")).expect("connected");
    (on::quinn().wrap_udp_socket(to).expect("wrapped"), from)
}

/// Receives as quinn does: many packets at once, and again until there is nothing more. Gives the
/// first byte of each packet, at least one.
async fn received(socket: &dyn AsyncUdpSocket) -> Vec<u8> {
    let mut firsts = Vec::new();
    let mut bytes = [[0; 64]; BATCH_SIZE];
    poll_fn(|cx| {
        loop {
            let mut meta = [RecvMeta::default(); BATCH_SIZE];
            let mut bufs = bytes.each_mut().map(|bytes| IoSliceMut::new(bytes));
            match socket.poll_recv(cx, &mut bufs, &mut meta) {
                Poll::Ready(count) => {
                    let count = count.expect("received");
                    let packets = bufs.iter().zip(meta).take(count);
                    // Packets of one length may come as one, one after the other.
                    firsts.extend(packets.flat_map(|(buf, meta)| {
                        buf[..meta.len]
                            .chunks(meta.stride)
                            .map(|packet| packet[0])
                            .collect::<Vec<_>>()
                    }));
                }
                Poll::Pending if firsts.is_empty() => return Poll::Pending,
                Poll::Pending => return Poll::Ready(()),
            }
        }
    })
    .await;
    firsts
}

/// A socket that takes itself for empty must hear of the next packet, whenever that comes.
async fn each_packet_is_noticed_when_it_comes_alone() {
    let (socket, from) = pair();
    for number in 0..200 {
        from.send(&[number]).expect("sent");
        assert_eq!(received(&*socket).await, [number]);
    }
}

async fn more_packets_than_one_receive_takes_are_all_noticed() {
    let (socket, from) = pair();
    let numbers: Vec<u8> = (0..BATCH_SIZE as u8 + 8).collect();
    for (at, number) in numbers.iter().enumerate() {
        // Different lengths are not put together by the system.
        from.send(&vec![*number; 1 + at]).expect("sent");
    }
    let mut all = Vec::new();
    while all.len() < numbers.len() {
        all.extend(received(&*socket).await);
    }
    assert_eq!(all, numbers);
}

tests! {
    one_thread:
    each_packet_is_noticed_when_it_comes_alone
    more_packets_than_one_receive_takes_are_all_noticed
}

tests! {
    many_threads:
    each_packet_is_noticed_when_it_comes_alone
    more_packets_than_one_receive_takes_are_all_noticed
}
