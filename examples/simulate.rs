//! Your own handlers under faults: sensors stream readings to a monitor, while the network loses
//! packets, falls apart and comes together again, and sensors crash. Virtual time, no sockets: half a
//! minute of twenty worlds takes a second or two.
//!
//! `cargo run --example simulate` runs seeds 1 to 20, `cargo run --example simulate 7` seed 7 alone.
//! What a seed does, it does again.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
    time::Duration,
};

use mosaik::proto::{PeerId, time::Instant};
use mosaik_sim::{
    Failure, Fault, HostId,
    level2::{Host, World},
};

/// Who measured, in which of its lives, which reading it is.
type Reading = (PeerId, u32, u64);
/// The latest reading of every sensor.
type Board = Arc<Mutex<BTreeMap<PeerId, (u32, u64)>>>;

const SECOND: Duration = Duration::from_secs(1);

/// The handler of a sensor: ten readings a second for whoever listens.
async fn sensor(host: Host, lives: Arc<Mutex<u32>>) {
    let life = {
        let mut lives = lives.lock().expect("nobody panicked");
        *lives += 1;
        *lives
    };
    let network = host.network("weather").build().await.expect("a node");
    network.discovery().dial(host.endpoint_of(HostId(0))).await;
    let producer = network.streams().produce::<Reading>();
    for number in 0.. {
        if producer.send((network.local().id(), life, number)).await.is_err() {
            return;
        }
        host.sleep(SECOND / 10).await;
    }
}

/// The handler under test: keeps the board, and must never see a sensor go back.
async fn monitor(host: Host, board: Board) {
    let network = host.network("weather").build().await.expect("a node");
    let mut readings = network.streams().consume::<Reading>();
    while let Some((sensor, life, number)) = readings.next().await {
        let now = (life, number);
        let before = board.lock().expect("nobody panicked").insert(sensor, now);
        assert!(before < Some(now), "{sensor} went from {before:?} back to {now:?}");
    }
}

/// One world: faults for twenty seconds, then calm, then the board must be up to date.
fn run(seed: u64) -> Result<String, Failure> {
    let mut world = World::new(seed);
    let board = Board::default();
    let shown = Arc::clone(&board);
    let hub = world.spawn_node("monitor", move |host| monitor(host, Arc::clone(&shown)));
    let sensors: Vec<HostId> = (0..3)
        .map(|number| {
            let lives = Arc::default();
            let program = move |host| sensor(host, Arc::clone(&lives));
            world.spawn_node(&format!("sensor {number}"), program)
        })
        .collect();
    // Faults are drawn from the seed like everything else.
    let mut rng = world.host(hub).rng("faults");
    world.inject(Fault::Loss(50_000));
    for second in 2..20 {
        let victim = sensors[rng.below(3) as usize];
        let paths = vec![(hub, victim), (victim, hub)];
        let at = Instant::ZERO + SECOND * second;
        match rng.below(4) {
            0 => world.schedule(at, Fault::Reset(hub, victim)),
            1 => {
                world.schedule(at, Fault::Crash(victim));
                world.schedule(at + SECOND, Fault::Start(victim));
            }
            2 => {
                world.schedule(at, Fault::Cut(paths.clone()));
                world.schedule(at + SECOND * rng.below(8) as u32, Fault::Mend(paths));
            }
            _ => world.schedule(at, Fault::Jump(victim, 60_000)),
        }
    }
    world.run_for(20 * SECOND)?;
    world.inject(Fault::Calm);
    world.run_for(10 * SECOND)?;
    // Readings flow again from every sensor: each shows more of them two seconds later.
    let before = board.lock().expect("nobody panicked").clone();
    let well = |_: &World| {
        let board = board.lock().expect("nobody panicked");
        let moves = |sensor: &PeerId| board.get(sensor) > before.get(sensor);
        let moving = board.keys().filter(|sensor| moves(sensor)).count();
        if moving == 3 { Ok(()) } else { Err(format!("{moving} of 3 sensors are heard")) }
    };
    world.run_until_holds(world.now() + 2 * SECOND, well)?;
    let board = board.lock().expect("nobody panicked");
    let lives: u32 = board.values().map(|(life, _)| life).sum();
    Ok(format!("well, after {lives} lives of {} sensors; {}", board.len(), world.trace_hash()))
}

fn main() -> Result<(), Failure> {
    let seeds = match std::env::args().nth(1).map(|seed| seed.parse()) {
        Some(Ok(seed)) => seed..=seed,
        _ => 1..=20,
    };
    for seed in seeds {
        let report = run(seed).inspect_err(|_| eprintln!("seed {seed} failed"))?;
        println!("seed {seed}: {report}");
    }
    Ok(())
}
