//! The runtime of the event loop.

use std::{
    future::poll_fn,
    task::{Context, Waker},
    time::Duration,
};

use futures::channel::oneshot;
use mosaik_driver::runtime::{Runtime, Timer};
use mosaik_proto::time::Instant;

use crate::on;

async fn fired(timer: &mut impl Timer) {
    poll_fn(|cx| timer.poll_fired(cx)).await;
}

fn is_pending(timer: &mut impl Timer) -> bool {
    timer.poll_fired(&mut Context::from_waker(Waker::noop())).is_pending()
}

async fn a_timer_fires_once_and_never_early() {
    let runtime = on::runtime();
    let mut timer = runtime.timer();
    assert!(is_pending(&mut timer), "not armed");
    for micros in [0, 1, 999, 1_000, 1_001, 20_500] {
        let at = runtime.now().mono + Duration::from_micros(micros);
        timer.arm(Some(at));
        fired(&mut timer).await;
        assert!(runtime.now().mono >= at);
        assert!(is_pending(&mut timer), "off again");
    }
    timer.arm(Some(Instant::ZERO));
    fired(&mut timer).await;
}

async fn a_timer_is_moved_and_switched_off() {
    let runtime = on::runtime();
    let (mut moved, mut off) = (runtime.timer(), runtime.timer());
    let soon = runtime.now().mono + Duration::from_millis(5);
    moved.arm(Some(Instant::from_nanos(u64::MAX)));
    assert!(is_pending(&mut moved));
    moved.arm(Some(soon));
    off.arm(Some(soon));
    off.arm(None);
    fired(&mut moved).await;
    assert!(is_pending(&mut off));
}

async fn the_clocks_advance() {
    let runtime = on::runtime();
    let before = runtime.now();
    assert!(before.mono < Instant::ZERO + Duration::from_secs(60));
    assert!(before.wall.0 > 1_700_000_000_000, "some time after 2023");
    assert!(runtime.now().mono >= before.mono);
}

async fn tasks_and_timers_start_outside_of_the_runtime() {
    let runtime = on::runtime();
    let (done, end) = oneshot::channel();
    let foreign = std::thread::spawn(move || {
        let mut timer = runtime.timer();
        timer.arm(Some(runtime.now().mono));
        let quinn_timer = runtime.quinn().new_timer(std::time::Instant::now());
        runtime.spawn(async move {
            fired(&mut timer).await;
            let mut quinn_timer = quinn_timer;
            poll_fn(|cx| quinn_timer.as_mut().poll(cx)).await;
            done.send(()).expect("somebody waits");
        });
    });
    foreign.join().expect("no panic");
    end.await.expect("the task ended");
}

tests! {
    one_thread:
    a_timer_fires_once_and_never_early
    a_timer_is_moved_and_switched_off
    the_clocks_advance
}

tests! {
    many_threads:
    tasks_and_timers_start_outside_of_the_runtime
}
